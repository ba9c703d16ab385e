"""The tables of refusals: every error that Microsoft or the field names is known, and what is not known keeps what was said."""

import json
import re
from collections.abc import Mapping

import httpx
import pytest

from shared.domain.problems import CATALOGUE, Actor, GrantlineError
from shared.microsoft import errors, refusals
from shared.microsoft.errors import Answer, Service
from shared.microsoft.refusals import TABLES, Reaction, Rule, Rules
from shared.ports import NotFoundError, NotYetError, RefusedError, TransientError

REQUEST_ID = "55555555-5555-4555-8555-555555555555"
RULES = [(place, rule) for place, rules in TABLES.items() for rule in rules]
AADSTS: Mapping[int, str] = {
    65004: "consent_denied",
    65005: "no_exchange",
    90094: "not_administrator",
    90095: "consent_requested",
    650052: "no_exchange",
    650056: "our_registration",
    650057: "our_registration",
    500011: "no_exchange",
    50105: "assignment_required",
    50020: "tenant_differs",
    50177: "tenant_differs",
    90072: "tenant_differs",
    90099: "guest_account",
    90002: "tenant_unknown",
    900023: "tenant_unknown",
    53003: "conditional_access",
    50076: "sign_in_again",
    50079: "sign_in_again",
    500021: "network_restricted",
    7000112: "application_disabled",
    90038: "other_cloud",
    501481: "sign_in_again",
    54005: "sign_in_again",
    70008: "sign_in_again",
    700082: "sign_in_again",
    70011: "our_registration",
    7000215: "credential_expired",
    7000222: "credential_expired",
    700027: "credential_expired",
    700024: "our_registration",
    50011: "our_registration",
    500112: "our_registration",
    650053: "our_registration",
    700023: "our_registration",
    700038: "our_registration",
    7000218: "our_registration",
    700211: "our_registration",
    700212: "our_registration",
    700213: "our_registration",
    7002131: "our_registration",
    5000224: "tenant_blocked",
}
"""What a number means wherever Microsoft Entra says it."""
WHERE: Mapping[int, tuple[str, str, str]] = {
    65001: (Reaction.NOT_YET, "sign_in_again", "consent_without_effect"),
    650051: (Reaction.NOT_YET, "sign_in_again", "consent_without_effect"),
    700016: (Reaction.NOT_YET, "our_registration", "our_registration"),
    7000229: (Reaction.NOT_YET, "our_registration", "our_registration"),
    90033: (Reaction.TRANSIENT, Reaction.TRANSIENT, "sign_in_failed"),
}
"""What a number means for a token, for a code, and in the browser."""
GRAPH: Mapping[str, tuple[int, str, str]] = {
    "Request_BadRequest": (400, "graph_refused", "role_refused"),
    "InvalidAuthenticationToken": (401, Reaction.NOT_YET, "sign_in_again"),
    "Authorization_IdentityNotFound": (401, Reaction.NOT_YET, "sign_in_again"),
    "Authorization_RequestDenied": (403, "graph_refused", "role_refused"),
    "Request_ResourceNotFound": (404, "graph_refused", Reaction.NOT_YET),
    "Directory_ConcurrencyViolation": (409, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "Directory_ExpiredPageToken": (400, "page_expired", "role_refused"),
    "syncStateNotFound": (410, "page_expired", "role_refused"),
    "preconditionFailed": (412, "graph_refused", "role_refused"),
    "resourceLocked": (423, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "TooManyRequests": (429, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "InternalServerError": (500, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "notImplemented": (501, "unexpected", "unexpected"),
    "badGateway": (502, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "serviceNotAvailable": (503, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "gatewayTimeout": (504, Reaction.TRANSIENT, Reaction.TRANSIENT),
    "bandwidthLimitExceeded": (509, Reaction.TRANSIENT, Reaction.TRANSIENT),
}
"""Status, and what it means to the directory application and to an administrator's token."""
PIM: Mapping[str, tuple[int, str, str]] = {
    "RoleAssignmentExists": (400, "The Role assignment already exists.", Reaction.ALREADY),
    "RoleAssignmentRequestPolicyValidationFailed": (400, 'The following policy rules failed: ["MfaRule"]', Reaction.POLICY),
    "RoleAssignmentDoesNotExist": (400, "The Role assignment does not exist.", "role_not_assigned"),
    "PendingRoleAssignmentRequest": (400, "There already exists a pending request.", "role_request_pending"),
    "InvalidRoleAssignmentRequestSchedule": (400, "The schedule is invalid.", "role_by_hand"),
    "ActiveDurationTooShort": (400, "The active duration is too short.", "role_by_hand"),
    "RoleAssignmentRequestAcrsValidationFailed": (400, "&claims=%7B%7D", "role_by_hand"),
    "RoleNotFound": (404, "The role is not found.", Reaction.NOT_YET),
    "SubjectNotFound": (404, "The subject is not found.", Reaction.NOT_YET),
    "AadPremiumLicenseRequired": (400, "The tenant needs to have Microsoft Entra ID P2.", Reaction.UNLICENSED),
}
"""Status, text and meaning, to a person's token and to an application's alike."""
AUDIT_OFF = (
    "failed. Exception: Microsoft.Office.Compliance.Audit.DataServiceException: Tenant 1b818c16 does not exist.\r\n   at M"
)
ACTIVITY: Mapping[str, tuple[int, str, str]] = {
    "AF10001": (403, "The permission set (...) sent in the request does not include the expected permission.", Reaction.NOT_YET),
    "AF20001": (400, "Missing parameter.", "unexpected"),
    "AF20002": (400, "Invalid parameter type.", "unexpected"),
    "AF20010": (400, "The tenant ID passed in the URL does not match the token's.", "unexpected"),
    "AF20011": (400, "Specified tenant ID does not exist in the system.", "unexpected"),
    "AF20013": (400, "The tenant ID passed in the URL is not a valid GUID.", "unexpected"),
    "AF20020": (400, "The specified content type is not valid.", "unexpected"),
    "AF20022": (400, "No subscription found for the specified content type.", Reaction.NOT_FOUND),
    "AF20023": (400, "The subscription was disabled by a tenant admin.", "activity_disabled"),
    "AF20024": (400, "The subscription is already enabled. No property change.", Reaction.ALREADY),
    "AF20030": (400, "Start time and end time must both be specified.", "unexpected"),
    "AF20031": (400, "Invalid nextPage Input: x.", "unexpected"),
    "AF20055": (400, "Start time and end time must be less than 24 hours apart.", "unexpected"),
    "AF20050": (400, "The specified content does not exist.", Reaction.NOT_FOUND),
    "AF20051": (400, "Content requested with the key has already expired.", Reaction.NOT_FOUND),
    "AF20052": (400, "Content ID in the URL is invalid.", "unexpected"),
    "AF429": (403, "Too many requests. Method=GetBlob", Reaction.TRANSIENT),
    "AF50000": (500, "An internal error occurred. Retry the request.", Reaction.TRANSIENT),
    "StartSubscription [CorrId=1e66f72e]": (400, AUDIT_OFF, "audit_off"),
    "StartSubscription [CorrId=1e66f72f]": (500, AUDIT_OFF, "audit_off"),
}
EXCHANGE: Mapping[str, tuple[int, str, str, str]] = {
    "before the role": (401, "", "", Reaction.NOT_YET),
    "a body of NUL": (403, "", "", Reaction.NOT_YET),
    "an unsupported role": (
        403,
        "UnAuthorized",
        "The role assigned to application x isn't supported in this scenario. Please check online documentation.",
        Reaction.NOT_YET,
    ),
    "not found": (404, "NotFound |Microsoft.Exchange.ManagementObjectNotFoundException", "No object.", Reaction.NOT_FOUND),
    "unknown parameter": (400, "BadRequest AmbiguousParameterSetException", "Not a parameter.", "exchange_refused"),
    "bad value": (400, "BadRequest ParameterTransformationException", "Cannot convert.", "exchange_refused"),
    "unknown cmdlet": (400, "BadRequest", "The term 'Get-X' is not recognized as the name of a cmdlet.", "cmdlet_not_offered"),
    "no such right": (403, "Forbidden", "The command is not present in the role definition of the user.", "cmdlet_not_offered"),
    "expired page": (
        400,
        "BadRequest",
        "Expired or Invalid pagination request. Default Expiry time is 00:30:00",
        Reaction.EXPIRED_PAGE,
    ),
    "developers": (
        400,
        "BadRequest",
        "Creation of inbound connectors is restricted in Microsoft 365 E5 developer subscriptions.",
        "connectors_restricted",
    ),
    "not customized": (
        400,
        "BadRequest",
        "Run the command Enable-OrganizationCustomization first.",
        "organization_not_customized",
    ),
    "throttled": (429, "TooManyRequests", "", Reaction.TRANSIENT),
    "cut off": (504, "GatewayTimeout", "", Reaction.TRANSIENT),
}


def entra(number: int) -> str:
    """Return what Microsoft Entra writes for a number."""
    return f"AADSTS{number}: Something.\r\nTrace ID: t\r\nCorrelation ID: {REQUEST_ID}\r\nTimestamp: 2026-11-24 03:00:00Z"


@pytest.mark.parametrize("number", AADSTS)
@pytest.mark.parametrize("rules", [refusals.TOKEN, refusals.CODE, refusals.REDIRECT], ids=["token", "code", "browser"])
def test_numbers_that_mean_the_same_everywhere(number: int, rules: Rules) -> None:
    """Every number of the identity platform that onboarding can meet has its problem, for tokens, codes and the browser."""
    answer = errors.entra_answer(400, {"error": "invalid_grant", "error_description": entra(number)})

    assert errors.meaning(answer, rules) == AADSTS[number]


@pytest.mark.parametrize("number", WHERE)
def test_numbers_that_depend_on_the_place(number: int) -> None:
    """What has not spread is waited for where an application asks for itself, and is a person's where a person is there."""
    answer = errors.entra_answer(400, {"error": "invalid_grant", "error_description": entra(number)})

    assert tuple(errors.meaning(answer, rules) for rules in (refusals.TOKEN, refusals.CODE, refusals.REDIRECT)) == WHERE[number]


@pytest.mark.parametrize(
    ("error", "description", "code"),
    [
        ("access_denied", "the user canceled the authentication", "sign_in_failed"),
        ("permission_denied", "The admin canceled the request", "consent_denied"),
        ("consent_required", entra(65004), "consent_denied"),
        ("consent_required", "", "consent_denied"),
        ("access_denied", entra(90095), "consent_requested"),
        ("server_error", "", "sign_in_failed"),
    ],
)
def test_what_a_browser_brings_back(error: str, description: str, code: str) -> None:
    """Errors in the address have a problem too, with Microsoft's text and the correlation id in it."""
    found = errors.redirect_problem(error, description)

    assert found.code == code
    assert found.raw == f"{error}: {description}"
    assert found.correlation_id == (REQUEST_ID if "Correlation" in description else "")


@pytest.mark.parametrize(("table", "place"), [(refusals.DIRECTORY, 1), (refusals.ROLES, 2)], ids=["directory", "roles"])
@pytest.mark.parametrize("name", GRAPH)
def test_errors_of_graph(name: str, table: Rules, place: int) -> None:
    """Statuses and codes that Graph documents are known to the directory and to the assignment of roles."""
    assert errors.meaning(Answer(Service.GRAPH, GRAPH[name][0], name, "A text."), table) == GRAPH[name][place]


@pytest.mark.parametrize("table", [refusals.ROLES, refusals.APPLICATION_ROLES], ids=["sign-in", "application"])
@pytest.mark.parametrize("name", PIM)
def test_errors_of_privileged_identity_management(name: str, table: Rules) -> None:
    """Every error of a request for a role has its meaning, whoever asks."""
    status, text, meaning = PIM[name]

    assert errors.meaning(Answer(Service.GRAPH, status, name, text), table) == meaning


@pytest.mark.parametrize("name", ACTIVITY)
def test_errors_of_the_activity_api(name: str) -> None:
    """Every error of the reference has its meaning; a throttle comes as a 403, an audit log that is off as a missing tenant."""
    status, text, meaning = ACTIVITY[name]
    answer = errors.activity_answer(httpx.Response(status, json={"error": {"code": name, "message": text}}))

    assert errors.meaning(answer, refusals.ACTIVITY) == meaning


@pytest.mark.parametrize("name", EXCHANGE)
def test_errors_of_exchange(name: str) -> None:
    """Every error that was recorded of Exchange's admin endpoint has its meaning."""
    status, code, text, meaning = EXCHANGE[name]

    assert errors.meaning(Answer(Service.EXCHANGE, status, code, text), refusals.EXCHANGE) == meaning


@pytest.mark.parametrize("place", TABLES, ids=" ".join)
def test_every_table_ends(place: tuple[str, str]) -> None:
    """The last rule of a table matches everything, and names the problem of what is not known."""
    *known, last = TABLES[place]

    assert last.pattern == ""
    assert last.meaning in CATALOGUE
    assert all(rule.pattern for rule in known)


@pytest.mark.parametrize(("place", "rule"), RULES, ids=lambda value: None if isinstance(value, tuple) else value.pattern)
def test_every_rule_is_complete(place: tuple[str, str], rule: Rule) -> None:
    """A rule means a reaction or a problem of the catalogue, and says what Microsoft calls it and where that is from."""
    assert isinstance(rule.meaning, Reaction) or rule.meaning in CATALOGUE
    assert not isinstance(rule.meaning, Reaction) or place[1] != "in the browser"
    assert bool(rule.names) == bool(rule.source) == bool(rule.pattern)
    assert all(re.search(rule.pattern, name) for name in rule.names if re.fullmatch(r"AADSTS\d+|AF\d+|\w*Exception", name))


def test_no_rule_is_hidden_by_another() -> None:
    """A code that stands in a rule of its own is not taken by an earlier one of the same table."""
    for place, rules in TABLES.items():
        for rule in rules:
            for name in rule.names:
                if re.fullmatch(r"AADSTS\d+|AF\d+", name):
                    assert errors.meaning(Answer(Service.ENTRA, 400, name), rules) == rule.meaning, (place, name)


UNKNOWN: Mapping[Service, tuple[Rules, httpx.Response]] = {
    Service.GRAPH: (
        refusals.ROLES,
        httpx.Response(
            400, json={"error": {"code": "NeverSeen", "message": "Said so.", "innerError": {"request-id": REQUEST_ID}}}
        ),
    ),
    Service.ACTIVITY: (
        refusals.ACTIVITY,
        httpx.Response(400, json={"error": {"code": "NeverSeen", "message": "Said so."}}, headers={"request-id": REQUEST_ID}),
    ),
}


@pytest.mark.parametrize("service", UNKNOWN)
def test_an_unknown_error_keeps_what_was_said(service: Service) -> None:
    """Code, text and correlation id are on the problem, whatever they are."""
    rules, response = UNKNOWN[service]
    error = errors.error_of(errors.graph_answer(response, service), rules)

    assert isinstance(error, RefusedError)
    assert error.problem.raw == "NeverSeen: Said so."
    assert error.problem.correlation_id == REQUEST_ID
    assert service in error.message


@pytest.mark.parametrize(
    ("body", "raw"), [(b"", "HTTP 400"), (b"\0\0\0", "HTTP 400"), (b"[]", "HTTP 400"), (b'{"error":"x"}', "HTTP 400")]
)
def test_an_error_without_a_text(body: bytes, raw: str) -> None:
    """An answer that can't be read is told by its status."""
    error = errors.error_of(errors.graph_answer(httpx.Response(400, content=body)), refusals.DIRECTORY)

    assert isinstance(error, RefusedError)
    assert error.problem.raw == raw


KINDS: Mapping[Reaction, type[GrantlineError]] = {
    Reaction.TRANSIENT: TransientError,
    Reaction.EXPIRED_PAGE: errors.ExpiredPageError,
    Reaction.NOT_YET: NotYetError,
    Reaction.NOT_FOUND: NotFoundError,
    Reaction.ALREADY: RefusedError,
    Reaction.UNLICENSED: RefusedError,
    Reaction.POLICY: RefusedError,
}


@pytest.mark.parametrize("reaction", Reaction)
def test_every_reaction_has_its_error(reaction: Reaction) -> None:
    """What passes by itself, what is not there and what a person must do are told apart by the kind of error."""
    assert isinstance(errors.error_of(Answer(Service.GRAPH, 400, "A"), (Rule("", reaction),)), KINDS[reaction])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Cannot process argument transformation on parameter 'QuarantineTypes'. Cannot convert value", "QuarantineTypes"),
        ("A parameter cannot be found that matches parameter name 'Colour'.", "Colour"),
        ("Parameter set cannot be resolved. Invalid cmdlet parameters specified. Colour, Taste", "Colour, Taste"),
        ("Cannot process command because of one or more missing mandatory parameters: Name SmartHosts.", "Name SmartHosts"),
        ("The parameter is not what it should be.", ""),
    ],
)
def test_a_validation_error_names_its_parameter(text: str, named: str) -> None:
    """The problem says which parameter Exchange's text is about, in each of the forms that it has been seen to take."""
    error = errors.error_of(Answer(Service.EXCHANGE, 400, "BadRequest", text), refusals.EXCHANGE)

    assert isinstance(error, RefusedError)
    assert error.problem.cause.endswith(f" It names the parameter {named}." if named else "refused a change.")
    assert error.problem.raw == text


def test_no_secret_is_in_an_error() -> None:
    """A text of Microsoft that repeats a token is shown without it."""
    token = f"eyJ{'a' * 40}.eyJ{'b' * 40}.{'c' * 40}"
    error = errors.error_of(Answer(Service.GRAPH, 400, "Bad", json.dumps({"token": token})), refusals.DIRECTORY)

    assert token not in repr(error)


def test_a_person_is_named_who_can_put_it_right() -> None:
    """What only the operator can mend is never put before the tenant's administrator, nor the other way round."""
    of_the_operator = {"credential_expired", "our_registration", "unexpected", "other_cloud", "tenant_unknown"}
    found = {str(rule.meaning) for _, rule in RULES if not isinstance(rule.meaning, Reaction)}

    assert {code for code in found if CATALOGUE[code].who is Actor.OPERATOR} >= of_the_operator & found
    assert all(CATALOGUE[code].who in (Actor.OPERATOR, Actor.TENANT_ADMINISTRATOR) for code in found)
