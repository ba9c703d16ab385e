"""A tenant changes hands by a new sign-in of its own administrator alone; after that nothing acts for the old grant."""

import asyncio
import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest

from local.browser import Browser
from local.demo import press_on
from shared.consent.state import RedirectError, new_secret
from shared.domain import decide, outcomes
from shared.domain.grant import GrantState, Nudge, RoleMode
from shared.domain.steps import STEPS, StepName, StepState
from shared.messages import ChooseRoleMode, RetryStep, StartGrant, encode_nudge
from shared.ports import Binding
from shared.web.http import Reply
from tests.security.forgery import forged
from tests.security.visitor import KilledError, Visitor, ask, new_account, operator, query_of, refused, with_query
from tests.support.grantline import CONSOLE, Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL_FLOW, ROLE, DIRECTORY = StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT, StepName.DIRECTORY_CONSENT
FABRIKAM = "admin@fabrikam.onmicrosoft.com"


async def owned(parts: Grantline, last: StepName = ROLE) -> str:
    """Return a grant that has the tenant: its first consent works, everything before ``last`` is done."""
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, last)
    return grant_id


async def sent(parts: Grantline, visitor: Visitor, grant_id: str, step: StepName | None = MAIL_FLOW) -> str:
    """Press the button that takes a tenant (for ``step``) or gives it back (None); return where its page leads at Microsoft."""
    site, headers = parts.container.site, operator()
    if step is None:
        reply = await ask(site, "consent_release", visitor.cookie, headers, grant_id=grant_id)
    else:
        reply = await ask(site, "consent_transfer", visitor.cookie, headers, grant_id=grant_id, step=step)
    assert reply.status == 200, reply.headers.get("location")
    return link_of(reply)


def link_of(reply: Reply) -> str:
    """Return the one link of a page that leads away from the console."""
    (found,) = re.findall(r'href="(https://[^"]+)"', str(reply.body))
    return unescape(found)


async def back(parts: Grantline, visitor: Visitor, grant_id: str, step: StepName | None = MAIL_FLOW) -> str:
    """Press the button and sign in; return Microsoft's redirect, not followed yet."""
    return await visitor.at_microsoft(await sent(parts, visitor, grant_id, step))


async def binding(parts: Grantline) -> Binding | None:
    """Return who has the administrator's tenant."""
    return await parts.container.storage.bindings.tenant(parts.facts["tenant_id"])


async def data_of(parts: Grantline, grant_id: str, kind: str) -> list[dict[str, Any]]:
    """Return the data of a grant's events of one type."""
    return [dict(event.data) for event in await parts.container.storage.grants.events(grant_id) if event.type == kind]


# --- a tenant is taken over ----------------------------------------------------------------------------------------------------


async def test_a_proved_administrator_is_offered_to_take_the_tenant(parts: Grantline) -> None:
    """The refusal tells where the form goes, and names neither the other account nor its grant."""
    owner = await owned(parts)
    visitor = Visitor(parts)
    other = await parts.start(new_account())
    redirect = await visitor.redirected(other)

    with pytest.raises(RedirectError) as caught:
        await parts.container.site.consent.signed_in(query_of(redirect), visitor.cookie)

    assert caught.value.problem.code == "tenant_taken"
    assert caught.value.more == {"transfer": f"/grants/{other}/steps/{MAIL_FLOW}/transfer"}
    told = json.dumps(await data_of(parts, other, "consent.refused"))
    for name in (owner, (await parts.grant(owner)).account_id):
        assert name not in f"{caught.value.problem}{told}"


async def test_the_tenant_goes_to_the_account_of_a_new_sign_in(parts: Grantline) -> None:
    """The other grant is released before anything else; this one goes on to the consent, and has the tenant for good."""
    owner, visitor = await owned(parts), Visitor(parts)
    taker = await parts.start(new_account())

    location = await sent(parts, visitor, taker)
    assert query_of(location)["prompt"] == "login"
    assert await visitor.take(await visitor.at_microsoft(location)) == f"/grants/{taker}"

    released, now = await parts.grant(owner), await parts.settle(taker, MAIL_FLOW)
    assert released.state is GrantState.RELEASED
    assert now.steps[MAIL_FLOW].state is StepState.DONE
    found = await binding(parts)
    assert found
    assert (found.account_id, found.grant_id, found.confirmed) == (now.account_id, taker, True)
    (why,) = await data_of(parts, owner, "grant.released")
    assert (why["actor"], why["tenant_id"]) == (visitor.name, parts.facts["tenant_id"])
    assert now.account_id not in json.dumps(why)
    assert taker not in json.dumps(why)
    (taken,) = await data_of(parts, taker, "tenant.transferred")
    assert taken == {"actor": visitor.name, "tenant_id": parts.facts["tenant_id"]}


async def test_a_mere_reservation_is_taken_over_too(parts: Grantline) -> None:
    """Whoever signed in for another account and went away does not hold the tenant against its administrator."""
    first, visitor = Visitor(parts), Visitor(parts)
    waiting = await parts.start(new_account())
    await first.take(await first.redirected(waiting))
    taker = await parts.start(new_account())

    location = await visitor.take(await back(parts, visitor, taker))

    assert "/adminconsent" in location
    assert (await parts.grant(waiting)).state is GrantState.RELEASED
    found = await binding(parts)
    assert found
    assert found.grant_id == taker


async def test_a_grant_of_another_tenant_loses_nothing(parts: Grantline) -> None:
    """A reservation that its grant has left for another tenant is taken; the grant itself goes on."""
    elsewhere = await parts.start(new_account())
    await parts.act(elsewhere, MAIL_FLOW, FABRIKAM)
    tenant_id, account_id = parts.facts["tenant_id"], (await parts.grant(elsewhere)).account_id
    await parts.container.storage.bindings.bind_tenant(Binding(tenant_id, account_id, elsewhere, parts.clock()))
    taker, visitor = await parts.start(new_account()), Visitor(parts)

    await visitor.take(await back(parts, visitor, taker))

    assert (await parts.grant(elsewhere)).released_at is None
    found = await binding(parts)
    assert found
    assert found.grant_id == taker


@pytest.mark.parametrize(
    ("name", "code"),
    [("member", "not_administrator"), ("exchange", "not_administrator"), ("application", "role_may_not_consent")],
)
async def test_who_is_no_administrator_takes_nothing(parts: Grantline, name: str, code: str) -> None:
    """Not even an application administrator, whom the consent itself would be enough for where the role is assigned by hand."""
    owner = await owned(parts)
    taker, visitor = await parts.start(new_account(), role_mode=RoleMode.BY_HAND), Visitor(parts, f"{name}@contoso.com")
    before = await parts.grant(owner)

    assert (await refused(parts, taker, await back(parts, visitor, taker), visitor.cookie)).code == code

    assert await parts.grant(owner) == before


async def test_another_tenants_administrator_takes_nothing(parts: Grantline) -> None:
    """Who proves another tenant has that one, and the owner keeps its own."""
    owner = await owned(parts)
    taker, visitor = await parts.start(new_account()), Visitor(parts, FABRIKAM)
    before = await parts.grant(owner), await binding(parts)

    assert "/adminconsent" in await visitor.take(await back(parts, visitor, taker))

    assert (await parts.grant(owner), await binding(parts)) == before


async def test_a_grant_of_this_tenant_can_not_take_another_one(parts: Grantline) -> None:
    """A grant whose tenant is settled is refused before the other account loses anything."""
    owner = await owned(parts)
    settled = await parts.start(new_account())
    await parts.act(settled, MAIL_FLOW, FABRIKAM)
    assert (await parts.settle(settled, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE
    before, visitor = await parts.grant(owner), Visitor(parts)

    location = await sent(parts, visitor, settled, DIRECTORY)
    tenant_id = (await parts.grant(settled)).tenant_id
    assert f"/{tenant_id}/" in location
    around = await visitor.at_microsoft(location.replace(tenant_id, "organizations"))

    assert (await refused(parts, settled, around, visitor.cookie)).code in ("tenant_differs", "sign_in_again")
    assert await parts.grant(owner) == before


@pytest.mark.parametrize("step", [MAIL_FLOW, None], ids=["transfer", "release"])
async def test_a_session_that_lies_open_is_not_enough(
    parts: Grantline, monkeypatch: pytest.MonkeyPatch, step: StepName | None
) -> None:
    """Where Microsoft says when the person signed in, a sign-in of before the click is refused, and nothing changes hands."""
    owner, visitor = await owned(parts), Visitor(parts)
    grant_id = owner if step is None else await parts.start(new_account())
    hour_ago = int((parts.clock() - timedelta(hours=1)).timestamp())
    redirect = await back(parts, visitor, grant_id, step)

    with forged(monkeypatch, auth_time=hour_ago):
        assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "sign_in_again"

    assert (await parts.grant(owner)).released_at is None


async def test_without_the_prompt_an_open_session_is_found_out(parts: Grantline) -> None:
    """Whoever sits at a signed-in browser and takes ``prompt`` out of the address comes back with an old ``auth_time``."""
    owner, visitor = await owned(parts), Visitor(parts)
    taker = await parts.start(new_account())
    async with Browser(parts.facts["ca_file"], stop_at=CONSOLE) as browser:
        page = await browser.open(await visitor.begin(taker))
        while not page.url.startswith(CONSOLE):
            page = await press_on(browser, parts.person(), page)
        parts.simulation.clock.advance(600)
        parts.clock.offset += timedelta(minutes=10)

        stripped = with_query(await sent(parts, visitor, taker), prompt="")
        page = await browser.open(stripped)

    assert query_of(page.url)["code"], "Microsoft asked for nothing"
    assert (await refused(parts, taker, page.url, visitor.cookie)).code == "sign_in_again"
    assert (await parts.grant(owner)).released_at is None


async def test_a_transfers_redirect_serves_once(parts: Grantline) -> None:
    """A reload, a doubled redirect and another browser change nothing after the first."""
    owner, visitor = await owned(parts), Visitor(parts)
    taker = await parts.start(new_account())
    redirect = await back(parts, visitor, taker)
    assert (await refused(parts, taker, redirect, new_secret())).code == "other_browser"
    assert (await parts.grant(owner)).released_at is None

    ends = await asyncio.gather(visitor.take(redirect), visitor.take(redirect))
    before = await parts.grant(owner), await parts.grant(taker), await binding(parts)

    assert set(ends) == {f"/grants/{taker}"}
    assert await visitor.take(redirect) == f"/grants/{taker}"
    assert (await parts.grant(owner), await parts.grant(taker), await binding(parts)) == before
    assert len(await data_of(parts, owner, "grant.released")) == 1
    assert len(await data_of(parts, taker, "tenant.transferred")) == 1


@pytest.mark.parametrize("port", ["save", "bind_tenant"])
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_killed_transfer_goes_on_by_one_more_click(
    parts: Grantline, monkeypatch: pytest.MonkeyPatch, port: str, number: int, moment: str
) -> None:
    """Killed at any write, at most the old grant is released; one more click on the way that is open ends the same."""
    owner, visitor = await owned(parts), Visitor(parts)
    taker = await parts.start(new_account())
    redirect = await back(parts, visitor, taker)
    storage = parts.container.storage
    kept: Any = storage.grants if port == "save" else storage.bindings
    original, calls = getattr(type(kept), port), iter(range(1, 100))

    async def killed(*arguments: Any, **named: Any) -> Any:
        if next(calls) < number:
            return await original(kept, *arguments, **named)
        monkeypatch.undo()
        if moment == "after":
            await original(kept, *arguments, **named)
        raise KilledError

    monkeypatch.setattr(kept, port, killed)
    with pytest.raises(KilledError):
        await visitor.take(redirect)

    assert await visitor.take(redirect) == f"/grants/{taker}"
    is_free = (await parts.grant(owner)).released_at is not None
    again = await (visitor.redirected(taker) if is_free else back(parts, visitor, taker))
    assert await visitor.take(again) == f"/grants/{taker}"
    assert (await parts.settle(taker, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE
    assert (await parts.grant(owner)).state is GrantState.RELEASED
    found = await binding(parts)
    assert found
    assert found.grant_id == taker


async def test_of_rivals_for_a_tenant_one_has_it(parts: Grantline) -> None:
    """Two accounts that take the tenant at the same moment: one has it, and whoever lost is either released or told so."""
    await owned(parts)
    takers = [await parts.start(new_account()) for _ in range(2)]
    visitors = [Visitor(parts) for _ in takers]
    redirects = [await back(parts, visitor, taker) for visitor, taker in zip(visitors, takers, strict=True)]

    ends = await asyncio.gather(
        *(visitor.take(redirect) for visitor, redirect in zip(visitors, redirects, strict=True)), return_exceptions=True
    )

    found = await binding(parts)
    assert found
    assert found.grant_id in takers
    for taker, end in zip(takers, ends, strict=True):
        assert isinstance(end, str | RedirectError)
        if taker != found.grant_id:
            grant = await parts.settle(taker, MAIL_FLOW)
            assert grant.released_at or grant.steps[MAIL_FLOW].state is not StepState.DONE


# --- a tenant is given back ----------------------------------------------------------------------------------------------------


async def test_a_tenant_is_given_back_by_its_administrator(parts: Grantline) -> None:
    """After a new sign-in the grant is over, its receipt stays, and another account gets the tenant by a plain sign-in."""
    owner, visitor = await owned(parts, StepName.PREFLIGHT), Visitor(parts)
    location = await sent(parts, visitor, owner, None)
    assert query_of(location)["prompt"] == "login"
    assert f"/{parts.facts['tenant_id']}/" in location
    assert (await parts.grant(owner)).released_at is None

    assert await visitor.take(await visitor.at_microsoft(location)) == f"/grants/{owner}"

    grant = await parts.grant(owner)
    assert grant.state is GrantState.RELEASED
    assert {name for name, step in grant.steps.items() if step.is_done} >= {MAIL_FLOW, ROLE}
    assert {step.state for step in grant.steps.values()} == {StepState.DONE, StepState.BLOCKED}
    assert len(await data_of(parts, owner, "grant.released")) == 1
    other = await parts.start(new_account())
    await parts.act(other, MAIL_FLOW)
    assert (await parts.settle(other, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE


async def test_a_release_takes_its_own_administrator(parts: Grantline) -> None:
    """Members, application administrators and another tenant's administrators give nothing back; nothing stands on the step."""
    owner = await owned(parts)
    before = await parts.grant(owner)
    for name, code in (("member@contoso.com", "not_administrator"), ("application@contoso.com", "role_may_not_consent")):
        visitor = Visitor(parts, name)
        assert (await refused(parts, owner, await back(parts, visitor, owner, None), visitor.cookie)).code == code
    stranger = Visitor(parts, FABRIKAM)
    location = await sent(parts, stranger, owner, None)
    around = await stranger.at_microsoft(location.replace(parts.facts["tenant_id"], "organizations"))
    assert (await refused(parts, owner, around, stranger.cookie)).code == "sign_in_again"

    after = await parts.grant(owner)
    assert (after.steps, after.released_at) == (before.steps, None)


async def test_a_releases_redirect_serves_once_and_in_its_browser(parts: Grantline) -> None:
    """The state of a release is no other sign-in's, and its replay does nothing."""
    owner, visitor = await owned(parts), Visitor(parts)
    redirect = await back(parts, visitor, owner, None)
    assert (await refused(parts, owner, redirect, new_secret())).code == "other_browser"
    assert await visitor.take(redirect) == f"/grants/{owner}"
    before = await parts.grant(owner), await parts.events(owner)

    assert await visitor.take(redirect) == f"/grants/{owner}"

    assert (await parts.grant(owner), await parts.events(owner)) == before


async def test_where_there_is_no_tenant_there_is_nothing_to_give_back(parts: Grantline) -> None:
    """Before a tenant is proved, and after it was given back, the button leads to the grant's page."""
    site, visitor = parts.container.site, Visitor(parts)
    new = await parts.start(new_account())
    owner = await owned(parts)
    await visitor.take(await back(parts, visitor, owner, None))

    for grant_id in (new, owner):
        reply = await ask(site, "consent_release", visitor.cookie, operator(), grant_id=grant_id)
        assert (reply.status, reply.headers["location"]) == (303, f"/grants/{grant_id}")
    reply = await ask(site, "consent_transfer", visitor.cookie, operator(), grant_id=owner, step=MAIL_FLOW)
    assert (reply.status, reply.headers["location"]) == (303, f"/grants/{owner}")


@pytest.mark.parametrize("step", ["verification", "nothing"])
async def test_a_tenant_is_taken_for_a_persons_step_alone(parts: Grantline, step: str) -> None:
    """What no person begins, or no step at all, is not there."""
    grant_id = await parts.start(new_account())

    reply = await ask(parts.container.site, "consent_transfer", new_secret(), operator(), grant_id=grant_id, step=step)

    assert reply.status in (400, 404)
    assert "There is no such grant" in str(reply.body)


# --- after that, nothing acts for the old grant --------------------------------------------------------------------------------


async def given_back(parts: Grantline, grant_id: str) -> None:
    """Have the administrator give a grant's tenant back."""
    visitor = Visitor(parts)
    await visitor.take(await back(parts, visitor, grant_id, None))
    assert (await parts.grant(grant_id)).released_at


@pytest.mark.parametrize("last", [ROLE, StepName.MAIL_FLOW, StepName.ACCESS_WATCH])
async def test_nothing_acts_on_the_tenant_for_a_released_grant(parts: Grantline, last: StepName) -> None:
    """No nudge, sweep, command or click moves it, and Microsoft hears nothing, whichever step it was at, a year later too."""
    grant_id = await owned(parts, last)
    await given_back(parts, grant_id)
    before = await parts.grant(grant_id)
    parts.simulation.recorder.clear()
    commands, consent = parts.container.site.commands, parts.container.site.consent

    for wait in (timedelta(), timedelta(days=1), timedelta(days=365)):
        parts.clock.offset = wait
        await parts.container.engine.sweep()
        for name in STEPS:
            await parts.container.engine.work(Nudge(grant_id, name, parts.clock()))
            await parts.container.inbox.receive(STEPS[name].queue, encode_nudge(Nudge(grant_id, name, parts.clock())).encode())
            wish = {"command_id": f"r-{wait.days}-{name}", "grant_id": grant_id, "requested_by": "x"}
            await commands.execute(RetryStep.model_validate({"type": "step.retry", "step": name, **wish}))
            if STEPS[name].person:
                assert await consent.begin(grant_id, name, new_secret()) == f"/grants/{grant_id}"
        for mode in RoleMode:
            wish = {"command_id": f"m-{wait.days}-{mode}", "grant_id": grant_id, "requested_by": "x"}
            await commands.execute(ChooseRoleMode.model_validate({"type": "role_mode.choose", "role_mode": mode, **wish}))

    after = await parts.grant(grant_id)
    assert (after.steps, after.intent, after.tenant_id, after.seq) == (before.steps, before.intent, before.tenant_id, before.seq)
    assert after.earliest_clock is None
    assert list(parts.simulation.recorder.requests) == []


async def test_a_redirect_that_comes_after_the_release_is_refused(parts: Grantline) -> None:
    """A sign-in, or a consent, that was under way when the tenant was given back moves nothing; the page says why."""
    grant_id = await parts.start(new_account())
    signing, consenting = Visitor(parts), Visitor(parts)
    consented = await consenting.at_microsoft(await consenting.take(await consenting.redirected(grant_id)))
    signed_in = await signing.redirected(grant_id)
    await given_back(parts, grant_id)
    before = await parts.grant(grant_id)

    assert (await refused(parts, grant_id, signed_in, signing.cookie)).code == "tenant_released"
    assert await consenting.take(consented) == f"/grants/{grant_id}"

    assert (await parts.grant(grant_id)).steps == before.steps


async def test_a_run_that_was_under_way_comes_to_nothing(parts: Grantline) -> None:
    """The outcome of a run that began before the release is dropped: it would begin the next step."""
    grant_id = await owned(parts, ROLE)
    await parts.act(grant_id, ROLE)
    engine, run_id = parts.container.engine, "a-run-under-way"
    assert await engine.commit(grant_id, lambda grant, now: decide.claim(grant, ROLE, run_id, now))
    await given_back(parts, grant_id)

    late = outcomes.Done(facts={"assigned": True})

    assert await engine.commit(grant_id, lambda grant, now: decide.decide(grant, ROLE, run_id, late, now)) is None
    assert (await parts.grant(grant_id)).state is GrantState.RELEASED


async def test_an_account_whose_grant_is_released_starts_another(parts: Grantline) -> None:
    """The account is free for a new grant, by which it may have the tenant again; the old one stays as it was."""
    account_id = new_account()
    first = await parts.start(account_id)
    await parts.until(first, ROLE)
    await given_back(parts, first)

    again = StartGrant(command_id="once-more", account_id=account_id, account_name="Once More", requested_by="a test")
    second = await parts.container.site.commands.execute(again)

    assert second != first
    assert await parts.container.storage.bindings.live_grant(account_id) == second
    await parts.act(second, MAIL_FLOW)
    assert (await parts.settle(second, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE
    found = await binding(parts)
    assert found
    assert found.grant_id == second
    assert (await parts.grant(first)).state is GrantState.RELEASED
