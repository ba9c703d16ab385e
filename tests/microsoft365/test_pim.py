"""Privileged Identity Management over Graph: requests, their terms, their refusals, and what lists show of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from local.microsoft365.model import Role, RolePolicy
from local.microsoft365.role_assignments import assign, held_roles, make_eligible
from tests.microsoft365.pim import (
    BASE,
    EXCHANGE,
    FOREVER,
    INSTANCES,
    PRINCIPAL,
    REQUESTS,
    WRITE,
    administrator,
    ask,
    instances,
    lasting,
    license_pim,
    refusal,
)
from tests.microsoft365.served import NOW, Served, serve

DAY = 86400
POLICY_FAILED = "RoleAssignmentRequestPolicyValidationFailed"
INVALID = "InvalidRoleAssignmentRequestSchedule"
TOO_SHORT = "ActiveDurationTooShort"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with Privileged Identity Management; afterwards nothing may have broken Microsoft's description."""
    async with serve(users=12) as running:
        license_pim(running)
        yield running
        assert running.contract.report()["violations"] == []


def rule_of(page: Any) -> str:
    """Return the rules that a refusal names, in Microsoft's words."""
    status, code, message = refusal(page)
    assert (status, code) == (400, POLICY_FAILED)
    return message.removeprefix("The following policy rules failed: ")


async def test_a_role_for_good_is_provisioned_at_once(served: Served) -> None:
    """201 with status Provisioned and the documented shape; instances, assignments and tokens have it; its schedule is named."""
    answer = await ask(served, ticketInfo={"ticketNumber": "INC-7", "ticketSystem": "Desk"})

    (shown,) = await instances(served)
    body = answer.body
    assert (answer.status, body["status"], body["action"]) == (201, "Provisioned", "adminAssign")
    assert body["scheduleInfo"]["expiration"] == {"type": "noExpiration", "endDateTime": None, "duration": None}
    assert body["ticketInfo"] == {"ticketNumber": "INC-7", "ticketSystem": "Desk"}
    assert body["createdBy"]["user"]["id"] == PRINCIPAL  # the caller of these tests has one id, whoever it is
    assert body["targetScheduleId"] == body["id"] == shown["roleAssignmentScheduleId"]
    assert (shown["endDateTime"], shown["assignmentType"], shown["memberType"]) == (None, "Assigned", "Direct")
    assert held_roles(served.tenant, PRINCIPAL, NOW) == {EXCHANGE}


@pytest.mark.parametrize(
    "expiration",
    [
        {"type": "afterDuration", "duration": "P30D"},
        {"type": "AfterDuration", "duration": "PT720H"},
        {"type": "AfterDateTime", "endDateTime": "2026-09-19T10:00:00Z"},
        {"type": "afterDateTime", "endDateTime": "2026-09-19T12:00:00.0000000+02:00"},
    ],
)
async def test_a_term_is_read_in_every_documented_way(served: Served, expiration: dict[str, Any]) -> None:
    """Durations and times, whatever the case of the type; the instance tells the end."""
    answer = await ask(served, expiration=expiration)

    (shown,) = await instances(served)
    assert answer.status == 201
    assert (shown["startDateTime"], shown["endDateTime"]) == ("2026-08-20T10:00:00Z", "2026-09-19T10:00:00Z")
    assert answer.body["scheduleInfo"]["expiration"]["type"] in {"afterDuration", "afterDateTime"}


async def test_a_start_that_is_past_means_at_once(served: Served) -> None:
    """As in Microsoft's example, whose start is a day before its request; the duration counts from now on."""
    answer = await ask(served, scheduleInfo={"startDateTime": "2026-08-19T10:00:00Z", "expiration": lasting("P30D")})

    assert answer.body["scheduleInfo"]["startDateTime"] == "2026-08-20T10:00:00Z"
    assert await end_of(served) == NOW + timedelta(days=30)


async def test_an_assignment_that_has_ended_makes_room(served: Served) -> None:
    """Whatever its id was: the new one takes its place, and there is one."""
    former = replace(assign(served.tenant, EXCHANGE, PRINCIPAL, NOW, 0.0), id="seeded", ends_at=NOW)
    served.tenant.role_assignments.clear()
    served.tenant.role_assignments[former.id] = former

    assert (await ask(served)).status == 201
    assert "seeded" not in served.tenant.role_assignments


async def test_a_role_ends_by_the_clock(served: Served) -> None:
    """At its end it is gone from instances, schedules and assignments, and no token carries it."""
    await ask(served, expiration=lasting("P1D"))
    served.advance(DAY - 1)
    before = await instances(served)
    served.advance(1)

    lists = [f"{BASE}/{name}?$filter=principalId eq '{PRINCIPAL}'" for name in ("roleAssignmentSchedules", "roleAssignments")]
    left = [(await served.graph(path, "RoleManagement.Read.Directory")).body["value"] for path in lists]
    gone = await served.graph(f"{BASE}/roleAssignments/{before[0]['id']}", "RoleManagement.Read.Directory")

    assert len(before) == 1
    assert (await instances(served), left, gone.status) == ([], [[], []], 404)
    assert held_roles(served.tenant, PRINCIPAL, served.clock["now"]) == frozenset()


async def test_a_role_spreads_after_its_delay(served: Served) -> None:
    """Graph shows the assignment at once; tokens carry it later, as with a direct one."""
    served.simulation.settings = replace(served.simulation.settings, role_delay=60.0)
    await ask(served)

    assert len(await instances(served)) == 1
    assert held_roles(served.tenant, PRINCIPAL, NOW + timedelta(seconds=59)) == frozenset()
    assert held_roles(served.tenant, PRINCIPAL, NOW + timedelta(seconds=60)) == {EXCHANGE}


async def test_the_same_assignment_twice_is_refused(served: Served) -> None:
    """Made by a request or directly: there is one, and the words are Microsoft's."""
    await ask(served)
    again = await ask(served, expiration=lasting("P10D"))
    served.tenant.role_assignments.clear()
    assign(served.tenant, EXCHANGE, PRINCIPAL, NOW, 0.0)
    direct = await ask(served)

    words = (400, "RoleAssignmentExists", "The Role assignment already exists.")
    assert [refusal(again), refusal(direct)] == [words, words]
    assert len(await instances(served)) == 1


async def test_a_direct_assignment_shows_as_an_instance(served: Served) -> None:
    """Without start and end, under its own id."""
    made = assign(served.tenant, EXCHANGE, PRINCIPAL, NOW, 0.0)

    (shown,) = await instances(served)

    assert shown["id"] == shown["roleAssignmentScheduleId"] == shown["roleAssignmentOriginId"] == made.id
    assert (shown["startDateTime"], shown["endDateTime"]) == (None, None)


@pytest.mark.parametrize(
    ("rule", "name"),
    [("Justification", "JustificationRule"), ("Ticketing", "TicketingRule"), ("MultiFactorAuthentication", "MfaRule")],
)
async def test_each_rule_that_is_enabled_is_enforced(served: Served, rule: str, name: str) -> None:
    """What lacks is refused with the rule's name, what has it is let through; a rule that is off asks for nothing."""
    bare: dict[str, Any] = {"justification": " ", "ticketInfo": {"ticketNumber": None}}
    full: dict[str, Any] = {
        "justification": "Mail.",
        "ticketInfo": {"ticketNumber": "INC-7"},
        "token": administrator(served, "pwd", "mfa"),
    }
    served.tenant.role_policies[EXCHANGE] = RolePolicy(enabled_rules=frozenset({rule}))

    refused = await ask(served, **bare)
    taken = await ask(served, **full)
    served.tenant.role_assignments.clear()
    served.tenant.role_policies[EXCHANGE] = RolePolicy(enabled_rules=frozenset())
    unasked = await ask(served, **bare)

    assert rule_of(refused) == f'["{name}"]'
    assert (taken.status, unasked.status) == (201, 201)


async def test_all_broken_rules_are_named(served: Served) -> None:
    """One answer names every rule, as a JSON list."""
    rules = frozenset({"Justification", "Ticketing", "MultiFactorAuthentication"})
    served.tenant.role_policies[EXCHANGE] = RolePolicy(True, "P30D", rules)

    answer = await ask(served, justification=None)

    assert json.loads(rule_of(answer)) == ["MfaRule", "JustificationRule", "TicketingRule", "ExpirationRule"]
    assert await instances(served) == []


async def test_an_application_alone_never_meets_the_mfa_rule(served: Served) -> None:
    """It has proved no second factor, whatever its permission."""
    served.tenant.role_policies[EXCHANGE] = RolePolicy(enabled_rules=frozenset({"MultiFactorAuthentication"}))

    answer = await ask(served, token=served.token(roles=[WRITE]))

    assert rule_of(answer) == '["MfaRule"]'


@pytest.mark.parametrize(
    ("policy", "expiration", "allowed"),
    [
        (RolePolicy(is_expiration_required=True, maximum_duration="P30D"), FOREVER, False),
        (RolePolicy(is_expiration_required=True, maximum_duration="P30D"), lasting("P30D"), True),
        (RolePolicy(is_expiration_required=True, maximum_duration="P30D"), lasting("P30DT1S"), False),
        (RolePolicy(), FOREVER, True),
        (RolePolicy(), lasting("P181D"), False),
    ],
)
async def test_the_longest_time_is_the_policys(
    served: Served, policy: RolePolicy, expiration: dict[str, Any], *, allowed: bool
) -> None:
    """An end may have to be there, and never lies further away than the policy's duration."""
    served.tenant.role_policies[EXCHANGE] = policy

    answer = await ask(served, expiration=expiration)

    if allowed:
        assert answer.status == 201
    else:
        assert rule_of(answer) == '["ExpirationRule"]'


async def test_approval_and_authentication_context_ask_administrators_for_nothing(served: Served) -> None:
    """They are rules of activation: an administrator's assignment is done at once."""
    served.tenant.role_policies[EXCHANGE] = RolePolicy(requires_approval=True, authentication_context="c1")

    answer = await ask(served)

    assert (answer.status, answer.body["status"], answer.body["approvalId"]) == (201, "Provisioned", None)


@pytest.mark.parametrize(
    ("schedule", "code"),
    [
        ({}, INVALID),
        ({"expiration": {"type": "notSpecified"}}, INVALID),
        ({"expiration": {"type": "afterDuration", "duration": None}}, INVALID),
        ({"expiration": {"type": "afterDuration", "duration": "30 days"}}, INVALID),
        ({"expiration": {"type": "afterDuration", "duration": "-P1D"}}, INVALID),
        ({"expiration": {"type": "afterDateTime", "endDateTime": "2026-08-20T10:00:00Z"}}, INVALID),
        ({"expiration": {"type": "afterDateTime", "endDateTime": "tomorrow"}}, INVALID),
        ({"expiration": FOREVER, "startDateTime": "2026-08-20"}, INVALID),
        ({"expiration": lasting("PT4M59S")}, TOO_SHORT),
    ],
)
async def test_a_schedule_that_makes_no_sense_is_refused(served: Served, schedule: dict[str, Any], code: str) -> None:
    """No end, an end that is past, what can't be read: 400; less than five minutes has a code of its own."""
    answer = await ask(served, scheduleInfo=schedule)

    assert refusal(answer)[:2] == (400, code)
    assert await instances(served) == []


async def test_five_minutes_are_long_enough(served: Served) -> None:
    """The shortest term that Microsoft takes."""
    assert (await ask(served, expiration=lasting("PT5M"))).status == 201


async def test_a_start_to_come_is_granted_and_waits(served: Served) -> None:
    """Status Granted, no instance, no token; from its start on it is provisioned. A second request finds the first pending."""
    start = {"startDateTime": "2026-08-21T10:00:00Z", "expiration": lasting("P1D")}
    made = await ask(served, scheduleInfo=start)
    again = await ask(served)
    early = await instances(served)
    served.advance(DAY)
    path = f"{REQUESTS}/{made.body['id']}"
    late = await served.graph(path, WRITE)

    (shown,) = await instances(served)
    assert (made.status, made.body["status"], early) == (201, "Granted", [])
    assert refusal(again) == (
        400,
        "PendingRoleAssignmentRequest",
        "There is already an existing pending Role assignment request.",
    )
    assert (late.body["status"], shown["endDateTime"]) == ("Provisioned", "2026-08-22T10:00:00Z")


async def test_a_request_that_waits_can_be_canceled(served: Served) -> None:
    """204, and what it planned never begins; one that is done can't, and an unknown one isn't found."""
    start = {"startDateTime": "2026-08-21T10:00:00Z", "expiration": FOREVER}
    waiting = f"{REQUESTS}/{(await ask(served, scheduleInfo=start)).body['id']}"
    token = administrator(served)

    canceled = await served.graph(f"{waiting}/cancel", method="POST", token=token)
    shown = await served.graph(waiting, token=token)
    again = await served.graph(f"{waiting}/cancel", method="POST", token=token)
    unknown = await served.graph(f"{REQUESTS}/{served.tenant.id}/cancel", method="POST", token=token)
    served.advance(2 * DAY)

    assert [canceled.status, again.status, unknown.status] == [204, 400, 404]
    assert (shown.body["status"], await instances(served)) == ("Canceled", [])


async def test_an_assignment_is_removed_after_five_minutes(served: Served) -> None:
    """Before that ActiveDurationTooShort; then 201 with status Revoked; then there is nothing to remove."""
    await ask(served)
    served.advance(299)
    early = await ask(served, "adminRemove")
    served.advance(1)
    done = await ask(served, "adminRemove", scheduleInfo=None)
    left = await instances(served)
    nothing = await ask(served, "adminRemove")

    text = "The Active duration is too short. Miniumum Required is 5 minutes."
    assert refusal(early) == (400, TOO_SHORT, text)
    assert (done.status, done.body["status"], done.body["scheduleInfo"], left) == (201, "Revoked", None, [])
    assert refusal(nothing) == (400, "RoleAssignmentDoesNotExist", "The Role assignment does not exist.")


async def end_of(served: Served) -> datetime:
    """Return the end of the application's one instance."""
    (shown,) = await instances(served)
    return datetime.fromisoformat(shown["endDateTime"])


async def test_an_end_is_extended_from_the_request_on(served: Served) -> None:
    """Still one assignment under the same schedule; an end that is not later, and one without an end, are refused."""
    first = await ask(served, expiration=lasting("P30D"))
    served.advance(20 * DAY)
    sooner = await ask(served, "adminExtend", lasting("P9D"))
    served.simulation.settings = replace(served.simulation.settings, role_delay=3600.0)
    extended = await ask(served, "adminExtend", lasting("P30D"))

    assert refusal(sooner)[:2] == (400, INVALID)
    assert (extended.status, extended.body["targetScheduleId"]) == (201, first.body["id"])
    assert await end_of(served) == NOW + timedelta(days=50)
    assert held_roles(served.tenant, PRINCIPAL, served.clock["now"]) == {EXCHANGE}  # without a gap
    assert (await instances(served))[0]["startDateTime"] == "2026-08-20T10:00:00Z"


async def test_extending_obeys_the_policy(served: Served) -> None:
    """The same rules as for a new assignment."""
    await ask(served, expiration=lasting("P30D"))

    long = await ask(served, "adminExtend", lasting("P181D"))
    silent = await ask(served, "adminExtend", lasting("P31D"), justification="")

    assert (rule_of(long), rule_of(silent)) == ('["ExpirationRule"]', '["JustificationRule"]')


@pytest.mark.parametrize("action", ["adminExtend", "adminUpdate"])
async def test_what_is_not_held_is_neither_extended_nor_updated(served: Served, action: str) -> None:
    """Never assigned, or ended: RoleAssignmentDoesNotExist."""
    never = await ask(served, action, lasting("P30D"))
    await ask(served, expiration=lasting("P1D"))
    served.advance(DAY)
    ended = await ask(served, action, lasting("P30D"))

    assert [refusal(each)[1] for each in (never, ended)] == ["RoleAssignmentDoesNotExist"] * 2


async def test_an_assignment_without_an_end_is_not_extended(served: Served) -> None:
    """There is no end to move."""
    await ask(served)

    assert refusal(await ask(served, "adminExtend", lasting("P30D")))[1] == INVALID


async def test_an_update_moves_the_end_either_way(served: Served) -> None:
    """Sooner, and to never."""
    await ask(served, expiration=lasting("P30D"))
    await ask(served, "adminUpdate", lasting("P2D"))
    sooner = await end_of(served)
    await ask(served, "adminUpdate", FOREVER)

    (shown,) = await instances(served)
    assert (sooner, shown["endDateTime"]) == (NOW + timedelta(days=2), None)


async def test_only_what_has_ended_is_renewed(served: Served) -> None:
    """Never assigned: nothing to renew; active: it exists; ended: a new assignment, and still one."""
    never = await ask(served, "adminRenew", lasting("P1D"))
    await ask(served, expiration=lasting("P1D"))
    active = await ask(served, "adminRenew", lasting("P1D"))
    served.advance(2 * DAY)
    renewed = await ask(served, "adminRenew", lasting("P1D"))

    codes = [refusal(each)[1] for each in (never, active)]
    assert codes == ["RoleAssignmentDoesNotExist", "RoleAssignmentExists"]
    assert (renewed.status, await end_of(served)) == (201, NOW + timedelta(days=3))
    assert sum(1 for each in served.tenant.role_assignments.values() if each.principal_id == PRINCIPAL) == 1


async def test_unknown_names_are_not_found(served: Served) -> None:
    """A principal that has not spread, a role that is none: 404 in PIM's codes; another scope and action: 400."""
    served.tenant.service_principals[PRINCIPAL] = replace(
        served.tenant.service_principals[PRINCIPAL], visible_at=NOW + timedelta(seconds=30)
    )
    early = await ask(served)
    role = await ask(served, roleDefinitionId=served.tenant.id)
    scope = await ask(served, directoryScopeId=f"/{PRINCIPAL}")
    action = await ask(served, "adminBless")
    served.advance(30)

    assert refusal(early)[:2] == (404, "SubjectNotFound")
    assert refusal(role)[:2] == (404, "RoleNotFound")
    assert [scope.status, action.status, (await ask(served)).status] == [400, 400, 201]


async def test_a_validation_changes_nothing(served: Served) -> None:
    """It is checked like the real one, and leaves neither request nor assignment."""
    checked = await ask(served, isValidationOnly=True)
    refused = await ask(served, isValidationOnly=True, justification="")

    assert (checked.status, checked.body["isValidationOnly"]) == (201, True)
    assert rule_of(refused) == '["JustificationRule"]'
    assert (served.tenant.role_requests, await instances(served)) == ({}, [])


async def test_nobody_activates_what_nobody_may(served: Served) -> None:
    """A self-activation without eligibility fails its rule; with it, it is not simulated; nothing activated can be ended."""
    activated = await ask(served, "selfActivate", lasting("PT1H"))
    ended = await ask(served, "selfDeactivate")
    make_eligible(served.tenant, EXCHANGE, PRINCIPAL, NOW, None)
    absent = await ask(served, "selfActivate", lasting("PT1H"))

    assert rule_of(activated) == '["EligibilityRule"]'
    assert refusal(ended)[1] == "RoleAssignmentDoesNotExist"
    assert refusal(absent)[:2] == (501, "NotImplemented")


async def test_requests_are_listed(served: Served) -> None:
    """By principal and by action, and one by its id; reading them needs the permission to write."""
    made = await ask(served)
    listed = await served.graph(f"{REQUESTS}?$filter=principalId eq '{PRINCIPAL}'&$select=id,status", WRITE)
    none = await served.graph(f"{REQUESTS}?$filter=action eq 'adminRemove'", WRITE)
    one = await served.graph(f"{REQUESTS}/{made.body['id']}", WRITE)
    reader = await served.graph(REQUESTS, "RoleAssignmentSchedule.Read.Directory")

    assert listed.body["value"] == [{"id": made.body["id"], "status": "Provisioned"}]
    assert (none.body["value"], one.body["justification"]) == ([], "It looks after the mail flow.")
    assert reader.status == 403


async def test_schedules_tell_the_term(served: Served) -> None:
    """The schedule has the request's id and names it as its maker; `$expand` shows the principal."""
    made = await ask(served, expiration=lasting("P30D"))

    path = f"{BASE}/roleAssignmentSchedules?$filter=principalId eq '{PRINCIPAL}'&$expand=principal"
    (shown,) = (await served.graph(path, "RoleAssignmentSchedule.Read.Directory")).body["value"]

    assert shown["id"] == shown["createdUsing"] == made.body["id"]
    assert shown["scheduleInfo"]["expiration"]["endDateTime"] == "2026-09-19T10:00:00Z"
    assert shown["principal"]["displayName"] == "Mail flow"


async def test_who_is_no_administrator_assigns_nothing(served: Served) -> None:
    """The permission alone does not suffice a person; an application's permission to read does not suffice it either."""
    member = await ask(served, token=administrator(served, role=Role.EXCHANGE_ADMINISTRATOR))
    reader = await ask(served, token=served.token(roles=["RoleAssignmentSchedule.Read.Directory"]))
    looked = await served.graph(INSTANCES, token=administrator(served, role=Role.GLOBAL_READER))

    assert (member.status, member.body["error"]["code"]) == (403, "Authorization_RequestDenied")
    status, code, message = refusal(reader)
    assert (status, code, json.loads(message)["errorCode"]) == (403, "UnknownError", "PermissionScopeNotGranted")
    assert looked.status == 200


async def test_the_permission_to_remove_only_removes(served: Served) -> None:
    """RoleAssignmentSchedule.Remove.Directory takes away and gives nothing."""
    token = served.token(roles=["RoleAssignmentSchedule.Remove.Directory"])
    assign(served.tenant, EXCHANGE, PRINCIPAL, NOW, 0.0)
    served.advance(300)

    removed = await ask(served, "adminRemove", token=token)
    given = await ask(served, token=token)

    assert (removed.status, refusal(given)[:2]) == (201, (403, "UnknownError"))
