"""A redirect is a claim that anyone can forge: each way to forge, replay or misdirect one is refused.

What holds of every refusal (plain words, audit event, nothing kept that could be trusted) is checked by ``visitor.refused``.
"""

import ssl
from base64 import urlsafe_b64encode
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from local.microsoft365.model import Role, RoleAssignment
from shared.consent.sealing import SEALED_ROW
from shared.consent.state import LIFETIME, RedirectError, new_secret, new_state
from shared.domain.grant import RoleMode
from shared.domain.steps import StepName, StepState
from shared.messages import ChooseRoleMode
from shared.ports import Binding
from tests.security.visitor import Visitor, consent_redirect, new_account, query_of, refused, with_query
from tests.support.grantline import CONSOLE, Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL_FLOW, ROLE, DIRECTORY = StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT, StepName.DIRECTORY_CONSENT
FABRIKAM = "admin@fabrikam.onmicrosoft.com"


def tenant_of(parts: Grantline, domain: str) -> str:
    """Return the id of a simulated tenant by its initial domain."""
    return next(str(each["tenant_id"]) for each in parts.facts["tenants"] if domain in str(each))


# --- states that are not this browser's, not ours or not of now ----------------------------------------------------------------


async def test_a_state_that_was_never_given_is_unknown(parts: Grantline) -> None:
    """A state of the right form that names a real grant is refused; anyone can make one up, so no audit has it."""
    grant_id = await parts.start(new_account())
    state = new_state(grant_id)
    before = await parts.grant(grant_id)

    for path in ("/signed-in", "/consented"):
        forged = f"{CONSOLE}{path}?code=made-up-code&state={state}"

        assert (await refused(parts, grant_id, forged, new_secret(), told=False)).code == "link_unknown"
    assert await parts.grant(grant_id) == before


@pytest.mark.parametrize(
    "state",
    ["", "x", "%%%", "ключ", "a" * 5000, "../../grant", new_state(str(uuid4())), urlsafe_b64encode(bytes(47)).decode()],
    ids=["none", "short", "percent", "letters", "long", "path", "other grant", "wrong length"],
)
async def test_a_state_that_is_none_of_ours_is_unknown(parts: Grantline, state: str) -> None:
    """Whatever stands in its place, the page says that no sign-in was begun here; no grant hears of it."""
    grant_id = await parts.start(new_account())
    before = await parts.events(grant_id)

    with pytest.raises(RedirectError) as caught:
        await Visitor(parts).take(with_query(f"{CONSOLE}/signed-in", code="made-up-code", state=state))

    assert caught.value.problem.code == "link_unknown"
    assert await parts.events(grant_id) == before


async def test_a_sign_in_begun_too_long_ago_is_refused(parts: Grantline) -> None:
    """A state lives 60 minutes; one more click begins anew."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.redirected(grant_id)
    parts.clock.offset = LIFETIME + timedelta(seconds=1)

    assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "link_expired"
    parts.clock.offset = timedelta()
    await visitor.at_microsoft(await visitor.take(await visitor.redirected(grant_id)))


async def test_a_consent_begun_too_long_ago_is_refused(parts: Grantline) -> None:
    """The consent's state has a life of its own, as long."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await consent_redirect(visitor, grant_id)
    parts.clock.offset = LIFETIME + timedelta(minutes=1)

    assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "link_expired"


@pytest.mark.parametrize("cookie", ["", new_secret()], ids=["no cookie", "another browser"])
async def test_a_link_sent_to_a_victim_is_refused(parts: Grantline, cookie: str) -> None:
    """An administrator who signs in by a link that somebody else began gives that one nothing; the one who began it may go on."""
    attacker = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await attacker.redirected(grant_id)

    assert (await refused(parts, grant_id, redirect, cookie)).code == "other_browser"
    assert (await parts.grant(grant_id)).steps[MAIL_FLOW].problem is None
    consented = await attacker.at_microsoft(await attacker.take(redirect))
    assert (await refused(parts, grant_id, consented, cookie, told=False)).code == "other_browser"


async def test_a_state_serves_only_what_it_was_begun_for(parts: Grantline) -> None:
    """The state of a sign-in does not stand for a consent, nor the reverse."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    signed_in = await visitor.redirected(grant_id)
    swapped = f"{CONSOLE}/consented?state={query_of(signed_in)['state']}&tenant={parts.facts['tenant_id']}&admin_consent=True"

    assert (await refused(parts, grant_id, swapped, visitor.cookie)).code == "link_unknown"
    consented = await visitor.at_microsoft(await visitor.take(signed_in))
    swapped = f"{CONSOLE}/signed-in?state={query_of(consented)['state']}&code=made-up-code"
    assert (await refused(parts, grant_id, swapped, visitor.cookie, told=False)).code == "link_unknown"


# --- what Microsoft or the person refuses --------------------------------------------------------------------------------------


async def test_a_cancelled_sign_in_is_told_kindly(parts: Grantline) -> None:
    """Cancel on Microsoft's sign-in page comes back as a page with the next action; the same link works afterwards."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.at_microsoft(await visitor.begin(grant_id), cancel_at="Sign in")

    refusal = await refused(parts, grant_id, redirect, visitor.cookie)

    assert refusal.code == "consent_denied"
    assert (await visitor.take(await visitor.redirected(grant_id))).startswith(parts.facts["url"])


async def test_a_denied_consent_is_no_consent(parts: Grantline) -> None:
    """The refusal of the consent page also says admin_consent=True: the error counts."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    location = await visitor.take(await visitor.redirected(grant_id))
    redirect = await visitor.at_microsoft(location, cancel_at="Permissions requested")
    assert query_of(redirect)["admin_consent"] == "True"

    assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "consent_denied"
    again = await visitor.at_microsoft(await visitor.take(await visitor.redirected(grant_id)))
    assert await visitor.take(again) == f"/grants/{grant_id}"


@pytest.mark.parametrize(
    ("name", "code"),
    [("member", "not_administrator"), ("exchange", "not_administrator"), ("application", "role_may_not_consent")],
)
async def test_who_is_no_administrator_for_this_is_refused(parts: Grantline, name: str, code: str) -> None:
    """Members, Exchange and application administrators may not give these permissions: they are told so before any consent."""
    visitor = Visitor(parts, f"{name}@contoso.com")
    grant_id = await parts.start(new_account())

    refusal = await refused(parts, grant_id, await visitor.redirected(grant_id), visitor.cookie)

    assert refusal.code == code
    assert visitor.consents_asked == 0


@pytest.mark.parametrize(
    ("way", "roles", "code"),
    [
        ("guests", (), "guest_account"),
        ("guests", ("exchange_administrator",), "guest_account"),
        ("guests", ("global_administrator",), ""),
        ("delegated-administrators", ("privileged_role_administrator",), ""),
        ("delegated-administrators", ("exchange_administrator",), "not_administrator"),
    ],
    ids=["guest", "guest with a smaller role", "guest with the role", "technician", "technician with a smaller role"],
)
async def test_people_of_another_tenant_count_by_their_roles_in_this_one(
    parts: Grantline, way: str, roles: tuple[str, ...], code: str
) -> None:
    """A guest, or a partner's technician, at the tenant's own address: what they are there is what counts."""
    await invite(parts, way, {"account": FABRIKAM, "roles": list(roles)})
    visitor = Visitor(parts, FABRIKAM)
    grant_id = await parts.start(new_account(), tenant_id=parts.facts["tenant_id"])

    redirect = await visitor.redirected(grant_id)

    if code:
        assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == code
    else:
        assert f"/{parts.facts['tenant_id']}/v2.0/adminconsent" in await visitor.take(redirect)


async def invite(parts: Grantline, way: str, body: dict[str, object]) -> None:
    """Have the administrator's tenant know somebody of another one: a guest, or a partner's delegated administrator."""
    context = ssl.create_default_context(cafile=parts.facts["ca_file"])
    async with httpx.AsyncClient(base_url=parts.facts["url"], verify=context, trust_env=False) as client:
        answer = await client.post(f"/_control/tenants/{parts.facts['tenant_id']}/{way}", json=body)
        answer.raise_for_status()


@pytest.mark.parametrize("role_mode", [RoleMode.BY_HAND, RoleMode.ROLE_GROUP])
async def test_an_application_administrator_may_give_the_mail_flow_consent_alone(parts: Grantline, role_mode: RoleMode) -> None:
    """Where somebody else assigns the role, they may give the consent that has no Graph permission in it; not the directory's."""
    visitor = Visitor(parts, "application@contoso.com")
    grant_id = await parts.start(new_account(), role_mode=role_mode)

    consented = await visitor.at_microsoft(await visitor.take(await visitor.redirected(grant_id)))
    assert await visitor.take(consented) == f"/grants/{grant_id}"
    assert (await parts.settle(grant_id, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE

    directory = await visitor.redirected(grant_id, DIRECTORY)
    assert (await refused(parts, grant_id, directory, visitor.cookie)).code == "role_may_not_consent"
    assert visitor.consents_asked == 1


async def test_who_must_activate_a_role_first_has_the_time_for_it(parts: Grantline) -> None:
    """The page says that an eligible role counts once activated; a sign-in that was begun may be finished an hour later."""
    visitor = Visitor(parts, "member@contoso.com")
    grant_id = await parts.start(new_account())
    refusal = await refused(parts, grant_id, await visitor.redirected(grant_id), visitor.cookie)
    assert "eligible counts once it is activated" in str(refusal.page.body)
    location = await visitor.begin(grant_id)

    activate(parts, visitor.name)
    parts.clock.offset = timedelta(minutes=59)

    assert "/adminconsent" in await visitor.take(await visitor.at_microsoft(location))


def activate(parts: Grantline, name: str) -> None:
    """Have a person hold the Global Administrator role from now on, as activating it in Privileged Identity Management does."""
    tenant = parts.simulation.store.tenant(parts.facts["tenant_id"])
    user = tenant.users.find(name)
    assert user
    now = parts.simulation.clock.now()
    tenant.role_assignments["activated"] = RoleAssignment("activated", Role.GLOBAL_ADMINISTRATOR, user.id, now, now)


async def test_without_role_claims_nothing_is_proved(parts: Grantline) -> None:
    """Microsoft may leave ``wids`` out: then even an administrator is not shown to be one."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    parts.simulation.settings = parts.simulation.settings.changed({"omit_wids": True})

    assert (await refused(parts, grant_id, await visitor.redirected(grant_id), visitor.cookie)).code == "administrator_not_proved"


async def test_an_error_text_of_a_redirect_is_only_text(parts: Grantline) -> None:
    """What the address says of an error stands on the page as text, cut short, never as markup."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    forged = with_query(
        await visitor.redirected(grant_id), error="<script>alert(1)</script>", error_description="<img src=x>" * 1000
    )

    page = (await refused(parts, grant_id, forged, visitor.cookie)).page

    assert isinstance(page.body, str)
    assert "<script>" not in page.body
    assert "<img" not in page.body
    assert len(page.body) < 20_000


# --- tenants and codes that are somebody else's --------------------------------------------------------------------------------


async def test_a_code_of_another_sign_in_is_refused(parts: Grantline) -> None:
    """A stolen code put into the thief's own redirect does not open with the thief's verifier (RFC 9700, 4.5)."""
    victim, thief = Visitor(parts), Visitor(parts, FABRIKAM)
    theirs, own = await parts.start(new_account()), await parts.start(new_account())
    stolen = query_of(await victim.redirected(theirs))["code"]

    injected = with_query(await thief.redirected(own), code=stolen)

    assert (await refused(parts, own, injected, thief.cookie)).code == "sign_in_again"


async def test_a_redirect_without_a_code_is_refused(parts: Grantline) -> None:
    """The right state and browser are not enough: only Microsoft's answer for a code proves anything."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())

    without = with_query(await visitor.redirected(grant_id), code="")

    assert (await refused(parts, grant_id, without, visitor.cookie)).code == "sign_in_again"


@pytest.mark.parametrize("claimed", ["fabrikam", "nobody", ""])
async def test_a_forged_tenant_in_the_consent_redirect_is_refused(parts: Grantline, claimed: str) -> None:
    """The consent must name the tenant that the sign-in proved."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    named = {"fabrikam": tenant_of(parts, "fabrikam"), "nobody": str(uuid4()), "": ""}[claimed]

    forged = with_query(await consent_redirect(visitor, grant_id), tenant=named)

    assert (await refused(parts, grant_id, forged, visitor.cookie)).code == "tenant_differs"


async def test_a_forged_success_gets_nothing_done(parts: Grantline) -> None:
    """A redirect that claims a consent which nobody gave only prompts a look; the application's own token tells."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    state = query_of(await visitor.take(await visitor.redirected(grant_id)))["state"]

    forged = f"{CONSOLE}/consented?admin_consent=True&tenant={parts.facts['tenant_id']}&state={state}"
    assert await visitor.take(forged) == f"/grants/{grant_id}"
    grant = await parts.work(grant_id, MAIL_FLOW)

    assert grant.steps[MAIL_FLOW].state is StepState.WAITING
    assert grant.steps[ROLE].state is StepState.BLOCKED


async def test_another_tenants_administrator_is_refused_for_the_same_grant(parts: Grantline) -> None:
    """Of two sign-ins begun before the tenant was known, the one whose consent came back pins it for good."""
    first, second = Visitor(parts), Visitor(parts, FABRIKAM)
    grant_id = await parts.start(new_account())
    late = await second.redirected(grant_id)
    await parts.act(grant_id, StepName.MAIL_FLOW_CONSENT, cookie=first.cookie)

    assert (await refused(parts, grant_id, late, second.cookie)).code == "tenant_differs"


async def test_another_tenants_administrator_is_refused_for_the_second_consent(parts: Grantline) -> None:
    """Microsoft keeps a foreign account out at the tenant's own address; one that goes round it is refused here."""
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    visitor = Visitor(parts, FABRIKAM)
    location = await visitor.begin(grant_id, DIRECTORY)
    assert f"/{parts.facts['tenant_id']}/" in location

    around = await visitor.at_microsoft(location.replace(parts.facts["tenant_id"], "organizations"))

    assert (await refused(parts, grant_id, around, visitor.cookie)).code == "sign_in_again"


async def test_a_tenant_of_another_account_is_refused(parts: Grantline) -> None:
    """One tenant has at most one account: the second hears so at its sign-in, before anything is asked of the administrator."""
    owner, other = await parts.start(new_account()), await parts.start(new_account())
    await parts.until(owner, ROLE)
    visitor = Visitor(parts)

    assert (await refused(parts, other, await visitor.redirected(other), visitor.cookie)).code == "tenant_taken"


async def test_a_tenant_that_another_account_got_meanwhile_is_not_taken_from_it(parts: Grantline) -> None:
    """A reservation that has lapsed while the consent spread does not make two owners."""
    grant_id = await parts.start(new_account())
    await parts.act(grant_id, MAIL_FLOW)
    bindings = parts.container.storage.bindings
    parts.clock.offset = timedelta(minutes=61)
    rival = Binding(parts.facts["tenant_id"], "rival", str(uuid4()), parts.clock(), confirmed=True)
    assert await bindings.bind_tenant(rival) == rival

    grant = await parts.work(grant_id, MAIL_FLOW)

    found = grant.steps[MAIL_FLOW].problem
    assert grant.steps[MAIL_FLOW].state is StepState.NEEDS_ATTENTION
    assert found
    assert found.code == "tenant_taken"
    assert await bindings.tenant(parts.facts["tenant_id"]) == rival


# --- the role by an application permission -------------------------------------------------------------------------------------


async def test_the_role_by_an_application_permission_takes_one_consent(parts: Grantline) -> None:
    """The step asks for the consent once it lacks, hands over no token, and is done when the role has its effect."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account(), role_mode=RoleMode.APPLICATION)
    await parts.until(grant_id, ROLE)
    assert await visitor.begin(grant_id, ROLE) == f"/grants/{grant_id}", "it begins without a person"
    step = (await parts.work(grant_id, ROLE)).steps[ROLE]
    assert step.problem
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "role_consent_needed")

    location = await visitor.take(await visitor.redirected(grant_id, ROLE))
    assert query_of(location)["client_id"] == parts.facts["applications"]["role_assigner"]["client_id"]
    assert await visitor.take(await visitor.at_microsoft(location)) == f"/grants/{grant_id}"

    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None
    assert (await parts.settle(grant_id, ROLE)).steps[ROLE].state is StepState.DONE


async def test_a_sign_in_for_another_way_to_the_role_hands_over_nothing(parts: Grantline) -> None:
    """Chosen anew while the administrator was at Microsoft: their token is neither kept nor used."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    redirect = await visitor.redirected(grant_id, ROLE)
    for role_mode in (RoleMode.APPLICATION, RoleMode.BY_HAND):
        wish = {"type": "role_mode.choose", "command_id": f"to-{role_mode}", "grant_id": grant_id, "role_mode": role_mode}
        await parts.container.site.commands.execute(ChooseRoleMode.model_validate({**wish, "requested_by": "a test"}))
        before = await parts.grant(grant_id)

        assert await visitor.take(redirect) == f"/grants/{grant_id}"

        assert await parts.grant(grant_id) == before
        assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None
