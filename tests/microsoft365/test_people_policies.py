"""What a tenant demands of people: Conditional Access, second factors, assignment, and requests for approval."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from local.microsoft365.catalogue import GRAPH
from local.microsoft365.model import AppRoleAssignment
from local.microsoft365.simulation import SIMULATION
from local.microsoft365.tokens import AccessToken, verify_bearer
from tests.microsoft365.platform import GRAPH_DEFAULT, ROLE_SCOPE, SIGNED_IN, Platform, Shown, claims_of

MEMBER, ADMIN = "member@contoso.com", "admin@contoso.com"
AMR = json.dumps({"access_token": {"amr": {"essential": True, "values": ["mfa"]}}})
CONTEXT = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})


async def policy(platform: Platform, control: str, **conditions: list[str]) -> str:
    """Add a Conditional Access policy to Contoso."""
    answer = await platform.control("POST", "tenants/contoso.com/policies", json={"control": control, **conditions})
    return str(answer["id"])


def role_url(platform: Platform, **changes: str) -> str:
    """The address at which the role helper asks a person to sign in."""
    return platform.authorize_url("role_helper", "contoso.com", scope=f"openid profile {ROLE_SCOPE}", **changes)


async def amr_of(platform: Platform, shown: Shown) -> list[str]:
    """Go on to the end; the `amr` of the access token."""
    returned = shown.returned if shown.returned is not None else await platform.press(shown, "accept")
    answer = (await platform.redeem(returned["code"], "role_helper", "contoso.com")).json()
    methods: list[str] = claims_of(answer["access_token"])["amr"]
    return methods


async def test_a_password_alone_is_said(platform: Platform) -> None:
    """Without a policy or a request the access token carries amr pwd only."""
    assert await amr_of(platform, await platform.sign_in(role_url(platform), ADMIN)) == ["pwd"]


async def test_a_policy_asks_for_a_second_factor(platform: Platform) -> None:
    """The tenant's MFA policy puts a page between password and consent; then tokens say so."""
    await policy(platform, "mfa", users=["All"])
    shown = await platform.sign_in(role_url(platform), ADMIN)
    approved = "Approve sign in request" in shown.words
    shown = await shown.submit("accept")

    assert approved
    assert "Permissions requested" in shown.words
    assert await amr_of(platform, shown) == ["pwd", "mfa"]


async def test_a_second_factor_lasts_as_long_as_the_sign_in(platform: Platform) -> None:
    """Single sign-on does not ask again; a new sign-in (prompt=login) proves the password only, and is asked."""
    await policy(platform, "mfa", users=["All"])
    browser = platform.browser()
    shown = await platform.sign_in(role_url(platform), ADMIN, browser)
    await platform.press(await shown.submit("accept"), "accept")
    again = await Shown(platform, browser).open(role_url(platform))
    fresh = await platform.sign_in(role_url(platform, prompt="login"), ADMIN, browser)

    assert again.returned is not None
    assert "Approve sign in request" in fresh.words


async def test_a_second_factor_can_be_cancelled(platform: Platform) -> None:
    """Cancel on that page goes back as a cancelled sign-in."""
    await policy(platform, "mfa", users=["All"])
    shown = await platform.sign_in(role_url(platform), ADMIN)
    await shown.submit("cancel")

    assert shown.returned is not None
    assert (shown.returned["error"], shown.returned["error_subcode"]) == ("access_denied", "cancel")


async def test_another_accounts_second_factor_proves_nothing(platform: Platform) -> None:
    """The form names the account that approved; with another name the page stays."""
    await policy(platform, "mfa", users=["All"])
    shown = await platform.sign_in(role_url(platform), ADMIN)
    await shown.submit("accept", account="somebody-else")

    assert "Approve sign in request" in shown.words


@pytest.mark.parametrize(("claims", "ignored", "asked"), [(AMR, False, True), (AMR, True, False), (CONTEXT, True, True)])
async def test_a_client_may_ask_for_a_second_factor(platform: Platform, claims: str, *, ignored: bool, asked: bool) -> None:
    """An authentication context does; whether `amr` does is a switch, because no page of Microsoft's says it."""
    await platform.control("POST", "settings", json={"ignore_amr_request": ignored})
    shown = await platform.sign_in(role_url(platform, claims=claims), ADMIN)

    assert ("Approve sign in request" in shown.words) is asked


async def test_an_authentication_context_is_in_the_token(platform: Platform) -> None:
    """What was asked for and met stands in `acrs` of the access token."""
    shown = await platform.sign_in(role_url(platform, claims=CONTEXT), ADMIN)
    returned = await platform.press(await shown.submit("accept"), "accept")
    answer = (await platform.redeem(returned["code"], "role_helper", "contoso.com")).json()
    claims = claims_of(answer["access_token"])

    assert (claims["acrs"], claims["amr"]) == (["c1"], ["pwd", "mfa"])


async def test_a_resource_sees_how_somebody_signed_in(platform: Platform) -> None:
    """`AccessToken.amr` is the token's claim; an application's own token has none."""
    await policy(platform, "mfa", users=["All"])
    shown = await (await platform.sign_in(role_url(platform), ADMIN)).submit("accept")
    returned = await platform.press(shown, "accept")
    person = (await platform.redeem(returned["code"], "role_helper", "contoso.com")).json()["access_token"]
    application = (await platform.app_token("role_helper", GRAPH_DEFAULT)).json()["access_token"]

    assert verified(platform, person).amr == {"pwd", "mfa"}
    assert verified(platform, application).amr == frozenset()


def verified(platform: Platform, token: str) -> AccessToken:
    """What Graph knows by a token."""
    application = web.Application()
    application[SIMULATION] = platform.simulation
    request = make_mocked_request("GET", "/v1.0/users", headers={"Authorization": f"Bearer {token}"}, app=application)
    return verify_bearer(request, GRAPH)


@pytest.mark.parametrize(("claims", "code"), [("{", "AADSTS90100"), ("[]", "AADSTS90100"), ('{"id_token": 1}', "AADSTS90100")])
async def test_a_claims_parameter_must_be_one(platform: Platform, claims: str, code: str) -> None:
    """What is no JSON object of objects is told to the client."""
    shown = await platform.sign_in_refused(role_url(platform, claims=claims))

    assert shown.returned is not None
    assert shown.returned["error_description"].startswith(code)


@pytest.mark.parametrize("returns", [False, True])
async def test_where_a_blocked_person_ends_is_a_switch(platform: Platform, *, returns: bool) -> None:
    """Conditional Access refuses on Microsoft's page; whether the client is told is a named uncertainty."""
    await platform.control("POST", "settings", json={"blocked_people_return": returns})
    await policy(platform, "block", users=[MEMBER])
    shown = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), MEMBER)

    if returns:
        assert shown.returned is not None
        assert shown.returned["error"] == "interaction_required"
        assert shown.returned["error_description"].startswith("AADSTS53003")
    else:
        assert shown.returned is None
        assert "AADSTS53003" in shown.words


@pytest.mark.parametrize(
    ("conditions", "person", "blocked"),
    [
        ({"users": ["All"]}, ADMIN, True),
        ({"users": [MEMBER]}, ADMIN, False),
        ({"users": ["All"], "applications": ["mail_flow"]}, ADMIN, True),
        ({"users": ["All"], "applications": ["directory"]}, ADMIN, False),
        ({"service_principals": ["All"]}, ADMIN, False),
    ],
)
async def test_a_policy_meets_its_people_and_applications_only(
    platform: Platform, conditions: dict[str, list[str]], person: str, *, blocked: bool
) -> None:
    """Included users and applications decide, on the admin consent page too."""
    await policy(platform, "block", **conditions)
    shown = await platform.sign_in(platform.consent_url(), person)

    assert ("AADSTS53003" in shown.words) is blocked


async def test_a_policy_of_the_tenant_meets_its_guests(platform: Platform) -> None:
    """The resource tenant's policies are about the guest object."""
    guest = {"account": "member@fabrikam.onmicrosoft.com"}
    made = await platform.control("POST", "tenants/contoso.com/guests", json=guest)
    await policy(platform, "block", users=[made["user_id"]])
    here = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), guest["account"])
    at_home = await platform.sign_in(platform.authorize_url(), guest["account"])

    assert "AADSTS53003" in here.words
    assert "Permissions requested" in at_home.words


async def test_a_blocked_application_is_told_the_policies(platform: Platform) -> None:
    """A policy for workload identities: 400 invalid_grant, message_only, and the policies' ids as a claims challenge."""
    await platform.grant("mail_flow")
    identifier = await policy(platform, "block", service_principals=["mail_flow"])
    answer = await platform.app_token()
    body = answer.json()

    assert (answer.status_code, body["error"], body["suberror"]) == (400, "invalid_grant", "message_only")
    assert body["error_codes"] == [53003]
    assert json.loads(body["claims"]) == {"access_token": {"capolids": {"essential": True, "values": [identifier]}}}
    await platform.control("DELETE", "tenants/contoso.com/policies")
    assert (await platform.app_token()).status_code == 200


async def test_a_policy_that_comes_after_the_code_is_met_at_its_redemption(platform: Platform) -> None:
    """A code of a password sign-in is refused as AADSTS50076 once the tenant demands a second factor."""
    shown = await platform.sign_in(platform.authorize_url(), ADMIN)
    returned = await platform.press(shown, "accept")
    identifier = await policy(platform, "mfa", users=["All"])
    body = (await platform.redeem(returned["code"])).json()

    assert (body["error"], body["error_codes"], body["suberror"]) == ("invalid_grant", [50076], "basic_action")
    assert identifier in body["claims"]


async def test_without_a_page_a_second_factor_is_a_refusal(platform: Platform) -> None:
    """prompt=none can't show the page: interaction_required, AADSTS50076."""
    browser = platform.browser()
    await platform.press(await platform.sign_in(platform.authorize_url(), ADMIN, browser), "accept")
    await policy(platform, "mfa", users=["All"])
    shown = await Shown(platform, browser).open(platform.authorize_url(prompt="none"))

    assert shown.returned is not None
    assert shown.returned["error"] == "interaction_required"
    assert shown.returned["error_description"].startswith("AADSTS50076")


@pytest.mark.parametrize("assigned", [False, True])
async def test_an_application_may_be_for_assigned_people_only(platform: Platform, *, assigned: bool) -> None:
    """Assignment required: who has none stays on AADSTS50105."""
    await platform.grant("mail_flow")
    app_id = platform.application("mail_flow").app_id
    change = {"noun": "servicePrincipal", "identity": app_id, "change": {"appRoleAssignmentRequired": True}}
    await platform.control("POST", "tamper", json=change)
    if assigned:
        _assign(platform, app_id)
    shown = await platform.sign_in(platform.authorize_url(tenant="contoso.com"), MEMBER)

    assert ("AADSTS50105" in shown.words) is not assigned


def _assign(platform: Platform, app_id: str) -> None:
    client, member = platform.tenant.service_principal_of(app_id), platform.tenant.users.find(MEMBER)
    assert client is not None
    assert member is not None
    now = platform.simulation.clock.now()
    default_role = "00000000-0000-0000-0000-000000000000"
    names = (member.display_name, client.id, client.display_name)
    made = AppRoleAssignment("x", default_role, member.id, *names, now, now, "User")
    platform.tenant.app_role_assignments["x"] = made


async def test_a_request_for_approval_never_comes_back(platform: Platform) -> None:
    """Consent request workflow: "Approval required" takes a justification, tells the administrators, and is a dead end."""
    await platform.control("POST", "tenants/contoso.com", json={"takes_approval_requests": True})
    shown = await platform.sign_in(platform.consent_url(), MEMBER)
    first = shown.words
    await shown.submit(step="approval", justification="  ")
    empty = shown.words
    await shown.submit(step="approval", justification="We want mail checked")

    assert "Approval required" in first
    assert "AADSTS90095" in first
    assert "Please enter a justification" in empty
    assert "Request sent" in shown.words
    assert shown.returned is None
    (request,) = platform.tenant.approval_requests
    assert (request.justification, request.app_id) == ("We want mail checked", platform.application("mail_flow").app_id)
    assert platform.tenant.app_role_assignments == {}


async def test_an_administrator_needs_no_approval(platform: Platform) -> None:
    """With the workflow on, who may consent sees the consent page as always."""
    await platform.control("POST", "tenants/contoso.com", json={"takes_approval_requests": True})

    assert "Permissions requested" in (await platform.sign_in(platform.consent_url(), ADMIN)).words


async def test_the_users_network_may_allow_other_tenants_only(platform: Platform) -> None:
    """Tenant restrictions: the network's header names the allowed tenants; every other is AADSTS500021."""
    browser = platform.browser()
    browser.headers["Restrict-Access-To-Tenants"] = "fabrikam.onmicrosoft.com, partner.example"
    refused = await Shown(platform, browser).open(platform.authorize_url(tenant="contoso.com"))
    allowed = await Shown(platform, browser).open(platform.authorize_url(tenant="fabrikam.onmicrosoft.com"))
    at_organizations = await platform.sign_in(platform.authorize_url(), ADMIN, browser)

    assert "AADSTS500021: Access to 'Contoso' tenant is denied." in refused.words
    assert "Sign in" in allowed.words
    assert "AADSTS500021" in at_organizations.words


@pytest.mark.parametrize(
    ("licences", "lacks"), [([], True), (["EXCHANGESTANDARD"], False), (["SPE_E5"], False), (["NOT_A_MAIL_PLAN"], True)]
)
async def test_a_tenant_without_exchange_cannot_consent(platform: Platform, licences: list[str], *, lacks: bool) -> None:
    """AADSTS650052, told to the client, before anything is granted: the consent fails as a whole."""
    await platform.control("POST", "tenants/contoso.com", json={"licences": licences})
    shown = await platform.sign_in(platform.consent_url("directory"), ADMIN)

    if not lacks:
        assert "Permissions requested" in shown.words
        return
    assert shown.returned is not None
    assert shown.returned["error"] == "invalid_client"
    assert shown.returned["error_description"].startswith("AADSTS650052")
    assert shown.returned["state"] == "the-state"
    assert platform.tenant.service_principal_of(platform.application("directory").app_id) is None


async def test_a_resource_without_service_principal_is_no_service(platform: Platform) -> None:
    """Where an administrator has removed or disabled the resource's own service principal, the refusal is the same."""
    change = {"noun": "servicePrincipal", "identity": GRAPH, "change": {"accountEnabled": False}}
    await platform.control("POST", "tamper", json=change)
    shown = await platform.sign_in(platform.authorize_url(redirect_uri=SIGNED_IN), ADMIN)

    assert shown.returned is not None
    assert shown.returned["error_description"].startswith("AADSTS650052")
