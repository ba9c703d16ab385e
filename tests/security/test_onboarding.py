"""The onboarding link in use, at the console's front door: one grant, one browser, for a while; everything else is refused."""

import asyncio
import json
import re
from datetime import timedelta
from html import unescape
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from shared.consent import onboarding
from shared.consent.onboarding import HOLDER_LIFETIME, LINK_LIFETIME
from shared.consent.state import digest, new_secret
from shared.domain.grant import RoleMode
from shared.domain.problems import CATALOGUE
from shared.domain.steps import StepName, StepState
from shared.web.access import Role
from shared.web.http import Reply, Request
from tests.security.routes import ROUTES
from tests.security.visitor import Visitor, ask, new_account, operator, sent_from, with_query
from tests.support.grantline import CONSOLE, Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL_FLOW, ROLE = StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT
SENDER = "olga@vendor.example"
FABRIKAM = "admin@fabrikam.onmicrosoft.com"


async def token_for(parts: Grantline, grant_id: str, **wish: str) -> str:
    """Have an operator create a link on the grant's page; return its token."""
    reply = await ask(parts.container.site, "console_onboarding_link", new_secret(), operator(SENDER), grant_id=grant_id, **wish)
    assert reply.status == 200, reply.body
    return token_of(address_on(reply))


def address_on(reply: Reply) -> str:
    """Return the address that the first copy button of a page copies."""
    found = re.search(r'data-copy="([^"]+)"', str(reply.body))
    assert found
    return unescape(found[1])


def token_of(address: str) -> str:
    """Return the token of a link's address."""
    parts = urlsplit(address)
    assert f"{parts.scheme}://{parts.netloc}" == CONSOLE
    assert parts.path.startswith("/onboarding/")
    return parts.path.removeprefix("/onboarding/")


async def accepted(parts: Grantline, token: str) -> str:
    """Use a link in a browser of its own; return the browser's cookie."""
    browser = new_secret()
    reply = await ask(parts.container.site, "onboarding_accept", browser, token=token)
    assert reply.status == 303, reply.body
    return browser


async def status(parts: Grantline, route: str, browser: str, **values: str) -> int:
    """Ask for a route as somebody with this browser and no account; return the status."""
    return (await ask(parts.container.site, route, browser, {}, **values)).status


async def links_events(parts: Grantline, grant_id: str) -> list[tuple[str, str]]:
    """Return the events about onboarding links: type and who."""
    events = await parts.container.storage.grants.events(grant_id)
    return [(each.type, each.data["actor"]) for each in events if each.type.startswith("onboarding")]


# --- the way that it is meant --------------------------------------------------------------------------------------------------


async def test_an_administrator_without_an_account_grants_access(parts: Grantline) -> None:
    """The page says what the link is about, one click uses it; then come the grant's page and Microsoft's."""
    site, visitor = parts.container.site, Visitor(parts)
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)

    opened = await ask(site, "onboarding_open", visitor.cookie, token=token)
    assert opened.status == 200
    account = (await parts.grant(grant_id)).account_name
    for text in (account, SENDER, "Exchange.ManageAsApp", "RoleManagement.ReadWrite.Directory", "User.Read.All"):
        assert text in str(opened.body)
    assert "Dashboard" not in str(opened.body)
    assert token not in str(opened.body)
    assert await status(parts, "console_grant", visitor.cookie, grant_id=grant_id) == 403

    used = await ask(site, "onboarding_accept", visitor.cookie, token=token)
    assert (used.status, used.headers["location"]) == (303, f"/grants/{grant_id}")
    page = await ask(site, "console_grant", visitor.cookie, grant_id=grant_id)
    assert page.status == 200
    assert "Dashboard" not in str(page.body)

    begun = await ask(site, "consent_begin", visitor.cookie, grant_id=grant_id, step=MAIL_FLOW)
    consented = await visitor.at_microsoft(await visitor.take(await visitor.at_microsoft(begun.headers["location"])))
    assert await visitor.take(consented) == f"/grants/{grant_id}"
    assert (await parts.settle(grant_id, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE
    assert [kind for kind, _ in await links_events(parts, grant_id)] == ["onboarding_link.created", "onboarding_link.used"]


async def test_the_operator_is_shown_the_link_once(parts: Grantline) -> None:
    """The page has the address to copy, until when it opens, and a message to send; it stands nowhere else."""
    site, grant_id = parts.container.site, await parts.start(new_account())

    reply = await ask(site, "console_onboarding_link", new_secret(), operator(SENDER), grant_id=grant_id)

    body, token = unescape(str(reply.body)), token_of(address_on(reply))
    assert body.count(token) == 4  # shown and copied, alone and in the message
    assert f"{parts.clock() + LINK_LIFETIME:%Y}" in body
    assert reply.headers["cache-control"] == "no-store"
    for route in ("console_grant", "console_history", "api_grant", "api_events"):
        other = await ask(site, route, new_secret(), operator(SENDER), grant_id=grant_id)
        assert other.status == 200
        assert token not in str(other.body)


async def test_a_holder_may_do_a_persons_part_of_this_grant_alone(parts: Grantline) -> None:
    """Look at it, begin its steps, retry: the same routes of another grant, and everything else, stay closed."""
    grant_id, other = await parts.start(new_account()), await parts.start(new_account())
    browser = await accepted(parts, await token_for(parts, grant_id))
    await token_for(parts, other)

    pages = ("console_grant", "console_live", "console_history", "console_plan")
    for route in (*pages, "api_grant", "api_receipt", "api_events", "api_plan", "api_findings", "api_proof", "api_removal"):
        assert await status(parts, route, browser, grant_id=grant_id) == 200
        assert await status(parts, route, browser, grant_id=other) in (401, 403)
    assert await status(parts, "consent_begin", browser, grant_id=grant_id, step=MAIL_FLOW) == 303
    assert await status(parts, "consent_begin", browser, grant_id=other, step=MAIL_FLOW) == 403
    command = {"type": "step.retry", "step": MAIL_FLOW, "command_id": "a-retry"}
    assert await status(parts, "console_grant_command", browser, grant_id=grant_id, **command) == 303
    assert await status(parts, "console_grant_command", browser, grant_id=other, **command) == 403
    for route in ("console_dashboard", "console_service_accounts", "console_grant_access", "console_start"):
        assert await status(parts, route, browser) == 403
    assert await status(parts, "console_remove", browser, grant_id=grant_id) == 403
    assert await status(parts, "console_onboarding_link", browser, grant_id=grant_id) == 403


@pytest.mark.parametrize(
    "wish",
    [{"type": "grant.remove"}, {"type": "routing.pause"}, {"type": "finding.acknowledge", "finding": "a|b"}],
    ids=lambda wish: wish["type"],
)
@pytest.mark.parametrize("route", ["console_grant_command", "api_grant_command"])
async def test_a_holder_decides_nothing_about_the_mail(parts: Grantline, route: str, wish: dict[str, str]) -> None:
    """Removal, pause and the answers to findings are refused to whoever holds a link, and the grant stays as it is."""
    grant_id = await parts.start(new_account())
    browser = await accepted(parts, await token_for(parts, grant_id))
    before = await parts.grant(grant_id), await parts.events(grant_id)
    fields, headers = ({}, {"idempotency-key": "a-wish"}) if route.startswith("api_") else ({"command_id": "a-wish"}, {})

    reply = await ask(parts.container.site, route, browser, headers, grant_id=grant_id, **wish, **fields)

    assert reply.status == 403
    assert (await parts.grant(grant_id), await parts.events(grant_id)) == before


async def test_a_command_can_not_name_another_grant(parts: Grantline) -> None:
    """A holder's form counts for the grant of its address, whatever grant a field of it names."""
    grant_id, other = await parts.start(new_account()), await parts.start(new_account())
    browser = await accepted(parts, await token_for(parts, grant_id))
    before = await parts.grant(other), await parts.events(other)
    route = ROUTES["console_grant_command"]
    fields = {"type": "role_mode.choose", "role_mode": "by_hand", "command_id": "a-choice", "grant_id": other}
    headers, body = sent_from(parts.settings, route, browser, **fields)

    request = Request("POST", route.path(grant_id=grant_id), route={"grant_id": grant_id}, headers=headers, body=body)
    reply = await parts.container.site.answer(route.name, request, route.view)

    assert (reply.status, reply.headers["location"]) == (303, f"/grants/{grant_id}")
    assert (await parts.grant(grant_id)).intent.role_mode is RoleMode.BY_HAND
    assert (await parts.grant(other), await parts.events(other)) == before


# --- single use ----------------------------------------------------------------------------------------------------------------


async def test_looking_at_a_link_does_not_use_it(parts: Grantline) -> None:
    """Mail scanners open every link, with other browsers and without cookies: the administrator's click still counts."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    before = await parts.grant(grant_id), await parts.events(grant_id)

    for browser in ("", new_secret(), ""):
        assert await status(parts, "onboarding_open", browser, token=token) == 200

    assert (await parts.grant(grant_id), await parts.events(grant_id)) == before
    await accepted(parts, token)


async def test_a_scanner_that_sends_the_form_does_not_use_it(parts: Grantline) -> None:
    """Without a cookie, or with another browser's token, the form is refused, and nothing is used."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)

    assert await status(parts, "onboarding_accept", "", token=token) == 403
    forged = await ask(parts.container.site, "onboarding_accept", new_secret(), token=token, csrf="0" * 64)
    assert forged.status == 403

    await accepted(parts, token)
    assert len(await links_events(parts, grant_id)) == 2


async def test_the_same_browser_may_open_it_again_and_no_other(parts: Grantline) -> None:
    """The holder is led to the grant; anybody else reads why the link does not open, and whom to ask."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    holder, other = await accepted(parts, token), new_secret()

    for route in ("onboarding_open", "onboarding_accept"):
        again = await ask(parts.container.site, route, holder, token=token)
        assert (again.status, again.headers["location"]) == (303, f"/grants/{grant_id}")
        for browser in (other, new_secret()):
            refused = await ask(parts.container.site, route, browser, token=token)
            assert refused.status == 403
            assert CATALOGUE["onboarding_used"].cause in str(refused.body)
            assert SENDER in str(refused.body)
    assert await status(parts, "console_grant", other, grant_id=grant_id) == 403
    assert len(await links_events(parts, grant_id)) == 2


async def test_of_many_browsers_at_once_one_holds_it(parts: Grantline) -> None:
    """Pressed at the same moment, the link is used once: one row, one event, one browser that gets in."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    browsers = [new_secret() for _ in range(6)]

    answers = await asyncio.gather(*(status(parts, "onboarding_accept", browser, token=token) for browser in browsers))

    assert sorted(answers) == [303] + [403] * 5
    admitted = [await status(parts, "console_grant", browser, grant_id=grant_id) for browser in browsers]
    assert admitted == [200 if answer == 303 else 403 for answer in answers]
    assert [kind for kind, _ in await links_events(parts, grant_id)] == ["onboarding_link.created", "onboarding_link.used"]


async def test_a_double_click_is_one_use(parts: Grantline) -> None:
    """The same browser that sends its form twice at once is led to the grant both times."""
    grant_id = await parts.start(new_account())
    token, browser = await token_for(parts, grant_id), new_secret()

    answers = await asyncio.gather(*(status(parts, "onboarding_accept", browser, token=token) for _ in range(3)))

    assert answers == [303, 303, 303]
    assert len(await links_events(parts, grant_id)) == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_killed_use_goes_on_by_one_more_click(parts: Grantline, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Whatever was saved when the process ended, the same browser's next click leads to the grant, and the use is one event."""
    grant_id = await parts.start(new_account())
    token, browser = await token_for(parts, grant_id), new_secret()
    grants = parts.container.storage.grants
    save = type(grants).save

    async def killed(*arguments: object) -> None:
        monkeypatch.undo()
        if moment == "after":
            await save(grants, *arguments)  # type: ignore[arg-type] # the arguments of the call that is in its place
        raise KeyboardInterrupt

    monkeypatch.setattr(grants, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        await status(parts, "onboarding_accept", browser, token=token)

    assert await status(parts, "onboarding_accept", browser, token=token) == 303
    assert len(await links_events(parts, grant_id)) == 2


# --- ends ----------------------------------------------------------------------------------------------------------------------


async def test_an_unused_link_ends(parts: Grantline) -> None:
    """After 72 hours it opens for nobody; the page says whom to ask."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    parts.clock.offset = LINK_LIFETIME

    for route in ("onboarding_open", "onboarding_accept"):
        reply = await ask(parts.container.site, route, new_secret(), token=token)
        assert reply.status == 410
        assert CATALOGUE["onboarding_expired"].cause in str(reply.body)
        assert SENDER in str(reply.body)
    assert len(await links_events(parts, grant_id)) == 1


async def test_a_holders_right_ends(parts: Grantline) -> None:
    """24 hours after the link was used, even when the link itself would still open."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    browser = await accepted(parts, token)
    parts.clock.offset = HOLDER_LIFETIME - timedelta(minutes=1)
    assert await status(parts, "console_grant", browser, grant_id=grant_id) == 200

    parts.clock.offset = HOLDER_LIFETIME + timedelta(minutes=1)

    assert await status(parts, "console_grant", browser, grant_id=grant_id) == 403
    assert await status(parts, "consent_begin", browser, grant_id=grant_id, step=MAIL_FLOW) == 403
    assert await status(parts, "onboarding_open", browser, token=token) == 410


async def test_a_newer_link_cuts_off_the_older_and_its_holder(parts: Grantline) -> None:
    """Sent to the wrong person, or lost with a machine: another link ends it at once."""
    grant_id = await parts.start(new_account())
    used, unused = await token_for(parts, grant_id), ""
    browser = await accepted(parts, used)
    unused = await token_for(parts, grant_id)
    assert await status(parts, "console_grant", browser, grant_id=grant_id) == 403

    newest = await token_for(parts, grant_id)

    for token, who in ((used, browser), (unused, new_secret())):
        reply = await ask(parts.container.site, "onboarding_open", who, token=token)
        assert reply.status == 410
        assert CATALOGUE["onboarding_replaced"].cause in str(reply.body)
        assert await status(parts, "onboarding_accept", who, token=token) == 410
    assert await status(parts, "console_grant", await accepted(parts, newest), grant_id=grant_id) == 200


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "%2e%2e", "ключ", "x" * 5000])
async def test_any_other_address_is_no_link(parts: Grantline, token: str) -> None:
    """Whatever stands in the token's place, the page says what to do, and tells nothing of any grant."""
    for route in ("onboarding_open", "onboarding_accept"):
        reply = await ask(parts.container.site, route, new_secret(), token=token)
        assert reply.status == 404
        assert CATALOGUE["onboarding_unknown"].cause in str(reply.body)


async def test_a_link_of_a_grant_that_is_not_there_is_unknown(parts: Grantline) -> None:
    """Signed, but for nothing: a restored backup, for one."""
    link = onboarding.new_link(str(uuid4()), "a-link", parts.clock())

    assert await status(parts, "onboarding_open", "", token=onboarding.sign(parts.settings.sealing_key, link)) == 404


# --- the tenant ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["domain", "id", "spelled otherwise"])
async def test_a_link_is_pinned_to_the_tenant_that_the_operator_knows(parts: Grantline, by: str) -> None:
    """By domain or id: Microsoft's sign-in is at that tenant, and an administrator of another one is refused."""
    site, grant_id = parts.container.site, await parts.start(new_account())
    tenant_id = parts.facts["tenant_id"]
    named = {"domain": "contoso.com", "id": tenant_id, "spelled otherwise": "  Contoso.COM "}[by]

    token = await token_for(parts, grant_id, tenant=named)

    assert (await parts.grant(grant_id)).pinned_tenant == tenant_id
    assert tenant_id in str((await ask(site, "onboarding_open", "", token=token)).body)
    visitor = Visitor(parts, FABRIKAM, await accepted(parts, token))
    location = await visitor.begin(grant_id)
    assert f"/{tenant_id}/" in location
    around = await visitor.at_microsoft(location.replace(tenant_id, "organizations"))
    refused = await ask(site, "consent_signed_in", visitor.cookie)
    assert refused.status == 400
    assert with_query(around, code="") != around
    assert (await parts.grant(grant_id)).tenant_id == ""


@pytest.mark.parametrize("tenant", ["nobody.example", "organizations", "no domain", "<b>", "x" * 300, "contoso.com/../x"])
async def test_a_tenant_that_microsoft_does_not_know_is_refused(parts: Grantline, tenant: str) -> None:
    """No link is created, and an older one stays what it is."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    before = await parts.grant(grant_id)

    reply = await ask(parts.container.site, "console_onboarding_link", new_secret(), operator(), grant_id=grant_id, tenant=tenant)

    assert reply.status == 400
    assert tenant not in str(reply.body)
    assert await parts.grant(grant_id) == before
    assert await status(parts, "onboarding_open", "", token=token) == 200


async def test_a_grant_of_another_tenant_is_not_turned_over(parts: Grantline) -> None:
    """The tenant that the grant is for stays, and so does its link."""
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    token = await token_for(parts, grant_id)

    reply = await ask(
        parts.container.site,
        "console_onboarding_link",
        new_secret(),
        operator(),
        grant_id=grant_id,
        tenant="fabrikam.onmicrosoft.com",
    )

    assert reply.status == 409
    assert CATALOGUE["tenant_settled"].cause in str(reply.body)
    assert await status(parts, "onboarding_open", "", token=token) == 200


# --- who may create one, and by program ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, operator("v", Role.VIEWER), operator("n", "")], ids=["nobody", "viewer", "no role"])
async def test_only_operators_create_links(parts: Grantline, headers: dict[str, str]) -> None:
    """Others are refused, and no link is created."""
    grant_id = await parts.start(new_account())

    assert (await ask(parts.container.site, "console_onboarding_link", new_secret(), headers, grant_id=grant_id)).status == 403
    assert (await ask(parts.container.site, "api_onboarding_link", "", headers, grant_id=grant_id)).status in (401, 403)
    assert await links_events(parts, grant_id) == []


async def by_program(parts: Grantline, grant_id: str, key: str = "", **wish: str) -> tuple[int, dict[str, str]]:
    """Create a link as a program does; return the status and the JSON."""
    headers = operator(SENDER) | {"idempotency-key": f'"{key or new_secret()}"'}
    reply = await ask(parts.container.site, "api_onboarding_link", "", headers, grant_id=grant_id, **wish)
    return reply.status, json.loads(reply.body)


async def test_a_program_creates_a_link(parts: Grantline) -> None:
    """It gets the address, until when it may be used, and the tenant; the link is as good as one of the page."""
    grant_id = await parts.start(new_account())

    code, link = await by_program(parts, grant_id, tenant="contoso.com")

    assert code == 201, link
    assert set(link) == {"grant_id", "address", "expires_at", "tenant_id"}
    assert (link["grant_id"], link["tenant_id"]) == (grant_id, parts.facts["tenant_id"])
    browser = await accepted(parts, token_of(link["address"]))
    assert await status(parts, "api_grant", browser, grant_id=grant_id) == 200
    assert await links_events(parts, grant_id) == [
        ("onboarding_link.created", SENDER),
        ("onboarding_link.used", "whoever opened the link"),
    ]


async def test_creating_is_idempotent_by_key(parts: Grantline) -> None:
    """The same key gives the same link, used or not; another wish under that key, or one that is over, is refused."""
    grant_id = await parts.start(new_account())
    first = await by_program(parts, grant_id, "a-key", tenant="contoso.com")
    await accepted(parts, token_of(first[1]["address"]))

    assert await by_program(parts, grant_id, "a-key", tenant="contoso.com") == first
    assert (await by_program(parts, grant_id, "a-key"))[0] == 422
    assert len(await links_events(parts, grant_id)) == 2

    assert (await by_program(parts, grant_id, "b-key"))[1]["address"] != first[1]["address"]
    assert (await by_program(parts, grant_id, "a-key", tenant="contoso.com"))[0] == 410


async def test_the_same_key_at_once_is_one_link(parts: Grantline) -> None:
    """A program that repeats itself before the first answer has come gets the same link each time."""
    grant_id = await parts.start(new_account())

    answers = await asyncio.gather(*(by_program(parts, grant_id, "one-key") for _ in range(4)))

    assert len({json.dumps(answer) for answer in answers}) == 1
    assert len(await links_events(parts, grant_id)) == 1


@pytest.mark.parametrize("wish", [{"tenants": "contoso.com"}, {"tenant": "a b"}, {"tenant": "<script>"}])
async def test_a_wish_that_can_not_be_read_is_refused(parts: Grantline, wish: dict[str, str]) -> None:
    """Fields that are not known and names that can be no tenant's are told, before anything is asked or saved."""
    grant_id = await parts.start(new_account())

    assert (await by_program(parts, grant_id, **wish))[0] == 400
    assert (await by_program(parts, grant_id, "key with spaces"))[0] == 400
    assert await links_events(parts, grant_id) == []


async def test_no_token_lies_in_the_tables(parts: Grantline) -> None:
    """The rows hold the link's id and a hash of the browser's cookie: no token, no cookie, and no hash in an event."""
    grant_id = await parts.start(new_account())
    token = await token_for(parts, grant_id)
    browser = await accepted(parts, token)
    grants = parts.container.storage.grants

    rows = (
        await grants.rows(grant_id, "link_used|")
        + await grants.rows(grant_id, "onboarding")
        + await grants.rows(grant_id, "command|")
    )
    events = json.dumps([dict(each.data) for each in await grants.events(grant_id)])
    text = json.dumps([[row.key, dict(row.value)] for row in rows])

    assert digest(browser) in text
    for secret in (token, token.split(".")[2], browser):
        assert secret not in text + events
    assert digest(browser) not in events
