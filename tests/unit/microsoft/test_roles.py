"""Directory roles through Microsoft Graph, with and without Privileged Identity Management: requests, and what answers mean."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.domain.problems import GrantlineError
from shared.microsoft.client import MicrosoftClient
from shared.ports import HeldRole, NotYetError, PolicyRefusedError, RefusedError, RolePolicy, Roles, RoleWish, TransientError
from tests.unit.microsoft.conftest import SECRET, TENANT, Said, Scripted, settings_for, token_answer, token_path
from tests.unit.microsoft.test_graph import graph_error

DIRECTORY = "/v1.0/roleManagement/directory"
ASSIGNMENTS = f"{DIRECTORY}/roleAssignments"
INSTANCES = f"{DIRECTORY}/roleAssignmentScheduleInstances"
REQUESTS = f"{DIRECTORY}/roleAssignmentScheduleRequests"
POLICIES = "/v1.0/policies/roleManagementPolicyAssignments"
ASSIGNER_ID = "aaaaaaaa-0000-4000-8000-000000000005"
PRINCIPAL = "22222222-2222-4222-8222-222222222222"
ROLE = "29232cdf-9323-42fd-ade2-1d097af3e4de"
NOW = datetime(2026, 11, 24, 3, 0, 5, tzinfo=UTC)
WISH = RoleWish(PRINCIPAL, ROLE, "Because.", "P180D")
ONE = f"principalId eq '{PRINCIPAL}' and roleDefinitionId eq '{ROLE}'"
UNLICENSED = graph_error(
    400, "AadPremiumLicenseRequired", "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license."
)


@pytest.fixture
async def microsoft(server: Scripted) -> AsyncIterator[MicrosoftClient]:
    """Grantline's client of the scripted server, with a role assigner, at a fixed time."""
    settings = settings_for(
        server.url, server.ca_file, role_assigner_client_id=ASSIGNER_ID, role_assigner_client_secret=SECRET, role_watch=True
    )
    client = MicrosoftClient(settings, lambda: NOW)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def roles(microsoft: MicrosoftClient) -> Roles:
    """Roles by an administrator's token."""
    return microsoft.roles(TENANT, "delegated-token")


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _instance(scope: str = "/", *, ends: str | None = None, begins: str | None = None) -> dict[str, Any]:
    return {"directoryScopeId": scope, "startDateTime": begins, "endDateTime": ends, "assignmentType": "Assigned"}


def _rule(identifier: str, **more: Any) -> dict[str, Any]:
    return {"@odata.type": "#microsoft.graph.unifiedRoleManagementPolicyRule", "id": identifier, **more}


def _policy(*rules: dict[str, Any]) -> Said:
    return Said({"value": [{"id": "DirectoryRole_x", "policy": {"id": "DirectoryRole_x", "rules": list(rules)}}]})


def _request(**schedule: Any) -> Said:
    """Return the answer to a request, as in the examples of Microsoft's page."""
    info = {"startDateTime": "2026-11-24T03:00:07.1234567Z", "recurrence": None, **schedule}
    return Said({"id": "r-1", "status": "Provisioned", "action": "adminAssign", "scheduleInfo": info}, 201)


LASTING = {"type": "afterDuration", "endDateTime": None, "duration": "P180D"}
FOREVER = {"type": "noExpiration", "endDateTime": None, "duration": None}
OPEN_POLICY = [
    _rule("Expiration_Admin_Assignment", isExpirationRequired=False, maximumDuration="P365D"),
    _rule("Enablement_Admin_Assignment", enabledRules=[]),
]
STRICT_POLICY = [
    _rule("Expiration_Admin_Eligibility", isExpirationRequired=True, maximumDuration="P15D"),
    _rule("Expiration_Admin_Assignment", isExpirationRequired=True, maximumDuration="P180D"),
    _rule("Enablement_Admin_Assignment", enabledRules=["Justification", "MultiFactorAuthentication", "Ticketing"]),
]
SELF_ACTIVATION = [
    _rule("Expiration_EndUser_Assignment", isExpirationRequired=True, maximumDuration="PT8H"),
    _rule("Enablement_EndUser_Assignment", enabledRules=["MultiFactorAuthentication", "Justification", "Ticketing"]),
    _rule("Approval_EndUser_Assignment", setting={"isApprovalRequired": True}),
    _rule("AuthenticationContext_EndUser_Assignment", isEnabled=True, claimValue="c1"),
]
READ_POLICIES = {
    "asks for nothing": (_policy(*OPEN_POLICY), RolePolicy()),
    "asks for all": (
        _policy(*STRICT_POLICY),
        RolePolicy("P180D", requires_justification=True, requires_mfa=True, requires_ticket=True),
    ),
    "self-activation does not count": (_policy(*SELF_ACTIVATION), RolePolicy()),
    "no policy for the role": (Said({"value": []}), RolePolicy()),
    "no licence": (UNLICENSED, None),
}


@pytest.mark.parametrize(("said", "policy"), READ_POLICIES.values(), ids=READ_POLICIES.keys())
async def test_policy(server: Scripted, roles: Roles, said: Said, policy: RolePolicy | None) -> None:
    """Only the rules for an administrator's active assignment are read; without a licence there is no policy."""
    server.say(POLICIES, said)

    assert await roles.policy(ROLE) == policy
    assert server.asked_for(POLICIES)[0].query == {
        "$filter": f"scopeId eq '/' and scopeType eq 'DirectoryRole' and roleDefinitionId eq '{ROLE}'",
        "$expand": "policy($expand=rules)",
    }


HELD = {
    "for good": ([_instance()], HeldRole()),
    "until": (
        [_instance(ends="2027-05-23T03:00:05.5Z", begins="2026-11-24T03:00:05Z")],
        HeldRole(_utc("2027-05-23T03:00:05.500"), NOW),
    ),
    "the last to end": (
        [_instance(ends="2027-05-23T00:00:00Z"), _instance(ends="2027-06-01T00:00:00Z"), _instance(ends="2026-12-01T00:00:00Z")],
        HeldRole(_utc("2027-06-01")),
    ),
    "for good beside one that ends": ([_instance(), _instance(ends="2027-06-01T00:00:00Z")], HeldRole()),
    "a unit only": ([_instance("/administrativeUnits/1")], None),
    "none": ([], None),
}


@pytest.mark.parametrize(("rows", "held"), HELD.values(), ids=HELD.keys())
async def test_held(server: Scripted, roles: Roles, rows: list[Any], held: HeldRole | None) -> None:
    """The active assignment for the whole tenant that ends last counts; no end is later than any."""
    server.say(INSTANCES, Said({"value": rows}))

    assert await roles.held(PRINCIPAL, ROLE) == held
    assert server.asked_for(INSTANCES)[0].query == {"$filter": ONE}
    assert server.asked_for(INSTANCES)[0].headers["Authorization"] == "Bearer delegated-token"
    assert server.asked_for(token_path()) == []


async def test_held_on_a_later_page(server: Scripted, roles: Roles) -> None:
    """A page may be empty and have a following one."""
    more = f"{server.url}{INSTANCES}?$skiptoken=x"
    server.say(INSTANCES, Said({"value": [], "@odata.nextLink": more}), Said({"value": [_instance()]}))

    assert await roles.held(PRINCIPAL, ROLE) == HeldRole()


@pytest.mark.parametrize(
    ("rows", "held"),
    [([{"directoryScopeId": "/"}], HeldRole()), ([{"directoryScopeId": "/administrativeUnits/1"}], None), ([], None)],
)
async def test_held_without_a_licence(server: Scripted, roles: Roles, rows: list[Any], held: HeldRole | None) -> None:
    """Without Privileged Identity Management the plain assignments say who has the role, and it has no end."""
    server.say(INSTANCES, UNLICENSED)
    server.say(ASSIGNMENTS, Said({"value": rows}))

    assert await roles.held(PRINCIPAL, ROLE) == held
    assert server.asked_for(ASSIGNMENTS)[0].query == {"$filter": ONE}


async def test_the_watch_asks_for_nothing_it_may_not_see(server: Scripted, microsoft: MicrosoftClient) -> None:
    """The directory application sees schedules alone: without a licence it is told so, and no refused call is made."""
    server.say(INSTANCES, UNLICENSED)

    with pytest.raises(RefusedError):
        await microsoft.roles(TENANT, application="directory").held(PRINCIPAL, ROLE)

    assert server.asked_for(ASSIGNMENTS) == []


async def test_assignment_without_pim(server: Scripted, roles: Roles) -> None:
    """The assignment is posted once, for the whole tenant, with the delegated token and no other."""
    server.say(ASSIGNMENTS, Said({"id": "x-1"}, 201))

    assert await roles.assign(WISH, with_pim=False) == HeldRole()

    (asked,) = server.asked
    assert asked.method == "POST"
    assert asked.document == {
        "@odata.type": "#microsoft.graph.unifiedRoleAssignment",
        "roleDefinitionId": ROLE,
        "principalId": PRINCIPAL,
        "directoryScopeId": "/",
    }
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["Authorization"] == "Bearer delegated-token"


CONFLICT = "A conflicting object with one or more of the specified property values is present in the directory."


@pytest.mark.parametrize("said", [graph_error(400, "Request_BadRequest", CONFLICT), graph_error(409, "Conflict")])
async def test_assignment_that_is_there_is_success(server: Scripted, roles: Roles, said: Said) -> None:
    """A duplicate assignment is what was wanted, even while a read does not show it yet."""
    server.say(ASSIGNMENTS, said)
    server.say(INSTANCES, Said({"value": []}))

    assert await roles.assign(WISH, with_pim=False) == HeldRole()
    assert len(server.asked_for(ASSIGNMENTS)) == 1


ASKED = {
    "for a time": (WISH, {"type": "afterDuration", "duration": "P180D"}, None),
    "for good": (replace(WISH, duration=""), {"type": "noExpiration"}, None),
    "with a ticket": (
        replace(WISH, ticket_number="CHG-7", ticket_system="Tickets"),
        {"type": "afterDuration", "duration": "P180D"},
        {"ticketNumber": "CHG-7", "ticketSystem": "Tickets"},
    ),
}


@pytest.mark.parametrize(("wish", "expiration", "ticket"), ASKED.values(), ids=ASKED.keys())
async def test_request_with_pim(
    server: Scripted, roles: Roles, wish: RoleWish, expiration: dict[str, str], ticket: dict[str, str] | None
) -> None:
    """An active assignment by an administrator, from now on, for exactly the duration that was wished for."""
    server.say(REQUESTS, _request(expiration=LASTING))

    await roles.assign(wish, with_pim=True)

    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", REQUESTS)
    assert asked.document == {
        "action": "adminAssign",
        "roleDefinitionId": ROLE,
        "principalId": PRINCIPAL,
        "directoryScopeId": "/",
        "justification": "Because.",
        "scheduleInfo": {"startDateTime": "2026-11-24T03:00:05Z", "expiration": expiration},
        **({"ticketInfo": ticket} if ticket else {}),
    }


BEGUN = _utc("2026-11-24T03:00:07.123456")
ENDS = {
    "a duration": (LASTING, HeldRole(_utc("2027-05-23T03:00:07.123456"), BEGUN)),
    "a time": ({"type": "afterDateTime", "endDateTime": "2027-01-01T00:00:00Z"}, HeldRole(_utc("2027-01-01"), BEGUN)),
    "none": (FOREVER, HeldRole(None, BEGUN)),
    "none, as Microsoft's requests write it": ({"type": "NoExpiration"}, HeldRole(None, BEGUN)),
}


@pytest.mark.parametrize(("expiration", "held"), ENDS.values(), ids=ENDS.keys())
async def test_end_of_the_answer(server: Scripted, roles: Roles, expiration: dict[str, Any], held: HeldRole) -> None:
    """The answer says until when: by its end, or by its duration from its own start."""
    server.say(REQUESTS, _request(expiration=expiration))

    assert await roles.assign(WISH, with_pim=True) == held
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "said",
    [
        Said({"id": "r-1", "status": "Provisioned"}, 201),
        _request(expiration={"type": "afterDuration", "duration": "a while"}),
        _request(startDateTime=None, expiration=LASTING),
        graph_error(400, "RoleAssignmentExists", "The Role assignment already exists."),
    ],
    ids=["no schedule", "no ISO 8601", "no start", "exists"],
)
async def test_end_of_what_is_held(server: Scripted, roles: Roles, said: Said) -> None:
    """Where the answer does not tell the end, and where the assignment was there before, the end is read."""
    server.say(REQUESTS, said)
    server.say(INSTANCES, Said({"value": [_instance(ends="2027-05-23T03:00:07Z")]}))

    assert await roles.assign(WISH, with_pim=True) == HeldRole(_utc("2027-05-23T03:00:07"))


async def test_an_unknown_end_is_never_no_end(server: Scripted, roles: Roles) -> None:
    """While neither the answer nor a read tells the end, it is looked for later."""
    server.say(REQUESTS, Said({"id": "r-1", "status": "Provisioned"}, 201))
    server.say(INSTANCES, Said({"value": []}))

    with pytest.raises(NotYetError):
        await roles.assign(WISH, with_pim=True)


async def test_extension(server: Scripted, roles: Roles) -> None:
    """An active assignment is extended by the request that Microsoft's page shows for it."""
    server.say(REQUESTS, _request(expiration=LASTING))

    assert await roles.extend(WISH) == HeldRole(_utc("2027-05-23T03:00:07.123456"), BEGUN)
    (asked,) = server.asked
    assert asked.document["action"] == "adminExtend"
    assert asked.document["scheduleInfo"]["expiration"] == {"type": "afterDuration", "duration": "P180D"}


@pytest.mark.parametrize(
    ("status", "code"), [("PendingApproval", "role_request_pending"), ("Denied", "role_refused"), ("Failed", "role_refused")]
)
async def test_a_request_that_assigns_nothing(server: Scripted, roles: Roles, status: str, code: str) -> None:
    """A request that was taken and is not carried out is told, not taken for an assignment."""
    server.say(REQUESTS, Said({"id": "r-1", "status": status, "scheduleInfo": {"expiration": FOREVER}}, 201))

    with pytest.raises(RefusedError) as raised:
        await roles.assign(WISH, with_pim=True)

    assert raised.value.problem.code == code


RULES = {
    '["MfaRule"]': ({"MfaRule"}, "role_needs_mfa"),
    '["TicketingRule"]': ({"TicketingRule"}, "role_needs_ticket"),
    '["EligibilityRule","ExpirationRule"]': ({"EligibilityRule", "ExpirationRule"}, "role_by_hand"),
    '["JustificationRule","MfaRule"]': ({"JustificationRule", "MfaRule"}, "role_by_hand"),
}


@pytest.mark.parametrize("text", RULES)
@pytest.mark.parametrize("extends", [False, True])
async def test_policy_refuses(server: Scripted, roles: Roles, text: str, extends: bool) -> None:
    """Microsoft's names of the rules that failed are kept, with its text."""
    rules, code = RULES[text]
    failed = f"The following policy rules failed: {text}"
    server.say(REQUESTS, graph_error(400, "RoleAssignmentRequestPolicyValidationFailed", failed))

    with pytest.raises(PolicyRefusedError) as raised:
        await (roles.extend(WISH) if extends else roles.assign(WISH, with_pim=True))

    assert raised.value.rules == rules
    assert raised.value.problem.code == code
    assert raised.value.problem.raw == f"RoleAssignmentRequestPolicyValidationFailed: {failed}"
    assert raised.value.problem.correlation_id == "55555555-5555-4555-8555-555555555555"


def _json_text(code: str, text: str) -> str:
    return json.dumps({"errorCode": code, "message": text})


DENIED = graph_error(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
NO_SCOPE = graph_error(403, "UnknownError", _json_text("PermissionScopeNotGranted", "Authorization failed due to missing scope."))
PENDING = graph_error(400, "PendingRoleAssignmentRequest", "There is already a pending request.")
CONTEXT = graph_error(400, "RoleAssignmentRequestAcrsValidationFailed", "&claims=%7B%7D")
GONE = graph_error(400, "RoleAssignmentDoesNotExist", "The Role assignment does not exist.")
REFUSALS = {
    "expired token": (graph_error(401, "InvalidAuthenticationToken"), "sign_in_again"),
    "no role of one's own": (DENIED, "role_refused"),
    "no permission, as PIM says it": (NO_SCOPE, "role_refused"),
    "another request is open": (PENDING, "role_request_pending"),
    "authentication context": (CONTEXT, "role_by_hand"),
    "bad times": (graph_error(400, "InvalidRoleAssignmentRequestSchedule"), "role_by_hand"),
    "nothing to extend": (GONE, "role_not_assigned"),
    "unknown": (graph_error(400, "SomethingNew"), "role_refused"),
}


@pytest.mark.parametrize(("said", "code"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_refusals_of_a_sign_in(server: Scripted, roles: Roles, said: Said, code: str) -> None:
    """Each refusal says what the administrator is to do. The token is in no error."""
    server.say(REQUESTS, said)

    with pytest.raises(RefusedError) as raised:
        await roles.assign(WISH, with_pim=True)

    assert raised.value.problem.code == code
    assert "delegated-token" not in repr(raised.value)


async def test_pim_puts_its_error_into_a_text(server: Scripted, roles: Roles) -> None:
    """An error that is a JSON text, or not wrapped at all, is read as any other."""
    server.say(INSTANCES, NO_SCOPE, Said({"errorCode": "MissingProvider", "message": "The provider is missing."}, 400))

    told = [await _refusal(roles), await _refusal(roles)]

    assert told[0] == "PermissionScopeNotGranted: Authorization failed due to missing scope."
    assert told[1] == "MissingProvider: The provider is missing."


async def _refusal(roles: Roles) -> str:
    """Return the raw text of a refused read."""
    with pytest.raises(RefusedError) as raised:
        await roles.held(PRINCIPAL, ROLE)
    return raised.value.problem.raw


MISSING = "Resource '22222222' does not exist or one of its queried reference-property objects are not present."
UNSPREAD = {
    "not found": graph_error(404, "Request_ResourceNotFound", MISSING),
    "bad reference": graph_error(400, "Request_BadRequest", MISSING),
    "no subject": graph_error(404, "SubjectNotFound", "The subject is not found."),
    "no subject, as Microsoft's page has it": graph_error(400, "SubjectNotFound", "The subject is not found."),
    "no role": graph_error(404, "RoleNotFound", "The role is not found."),
}


@pytest.mark.parametrize("said", UNSPREAD.values(), ids=UNSPREAD.keys())
@pytest.mark.parametrize("with_pim", [False, True])
async def test_principal_has_not_spread(server: Scripted, roles: Roles, said: Said, with_pim: bool) -> None:
    """A principal that the directory does not know yet is for a little later."""
    server.say(ASSIGNMENTS, said)
    server.say(REQUESTS, said)

    with pytest.raises(NotYetError):
        await roles.assign(WISH, with_pim=with_pim)


BUSY = {
    "throttled": graph_error(429, "TooManyRequests", **{"Retry-After": "7"}),
    "locked": graph_error(423, "Locked"),
    "at the same time": graph_error(409, "Directory_ConcurrencyViolation"),
    "down": graph_error(503, "serviceNotAvailable"),
}


@pytest.mark.parametrize("said", BUSY.values(), ids=BUSY.keys())
async def test_busy(server: Scripted, roles: Roles, said: Said) -> None:
    """What passes by itself is tried again later by the engine; nothing is sent twice here."""
    server.say(REQUESTS, said)

    with pytest.raises(TransientError):
        await roles.assign(WISH, with_pim=True)

    assert len(server.asked) == 1


async def test_by_the_applications_own_permission(server: Scripted, microsoft: MicrosoftClient) -> None:
    """Without a delegated token the role assigner asks with its own, of the tenant."""
    server.say(token_path(), token_answer(roles=["RoleManagement.ReadWrite.Directory"]))
    server.say(REQUESTS, _request(expiration=FOREVER))

    await microsoft.roles(TENANT, application="role_assigner").assign(WISH, with_pim=True)

    (token,) = server.asked_for(token_path())
    assert f"client_id={ASSIGNER_ID}" in token.text
    assert "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default" in token.text
    assert server.asked_for(REQUESTS)[0].headers["Authorization"].count(".") == 2


UNCONSENTED = {"unknown application": graph_error(401, "Authorization_IdentityNotFound"), "denied": DENIED, "by PIM": NO_SCOPE}


@pytest.mark.parametrize("said", UNCONSENTED.values(), ids=UNCONSENTED.keys())
async def test_an_application_without_its_permission(server: Scripted, microsoft: MicrosoftClient, said: Said) -> None:
    """The consent is missing or has not spread: nobody but its administrator can tell which, so it is looked for later."""
    server.say(POLICIES, said)

    with pytest.raises(NotYetError) as raised:
        await microsoft.roles(TENANT, application="role_assigner").policy(ROLE)

    assert raised.value.raw


async def test_a_second_factor_is_nothing_for_an_application(server: Scripted, microsoft: MicrosoftClient) -> None:
    """An application's own token gets the policy's refusal like a person's, with the rules for the workflow to judge."""
    failed = 'The following policy rules failed: ["MfaRule"]'
    server.say(REQUESTS, graph_error(400, "RoleAssignmentRequestPolicyValidationFailed", failed))

    with pytest.raises(PolicyRefusedError) as raised:
        await microsoft.roles(TENANT, application="role_assigner").assign(WISH, with_pim=True)

    assert raised.value.rules == {"MfaRule"}


@pytest.mark.parametrize("application", ["", "nobody"])
async def test_roles_of_nobody(microsoft: MicrosoftClient, application: str) -> None:
    """Without a token an application of Grantline's must be named: anything else is a defect."""
    with pytest.raises(ValueError, match="Application"):
        microsoft.roles(TENANT, application=application)


async def test_an_answer_that_is_no_json(server: Scripted, roles: Roles) -> None:
    """A gateway's page is no assignment."""
    server.say(REQUESTS, Said(b"<html>", 201))

    with pytest.raises(GrantlineError):
        await roles.assign(WISH, with_pim=True)
