"""Least privilege: every permission that Grantline asks for is needed by a call, and every call is in the one list.

Each permission is taken away in turn, from the registration or from the sign-in; what then happens to a grant shows the need.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365.changes import put_user
from local.microsoft365.registrations import read_registrations
from shared.domain.decision import Decision
from shared.domain.grant import GrantState, RoleMode, Scope, ScopeKind
from shared.domain.steps import STEPS, StepName, StepState
from shared.microsoft import permissions
from shared.microsoft.permissions import CALLS, Application, Consumer, Permission, catalogue, registered
from shared.settings import Settings
from shared.web import redirects
from tests.support.grantline import CONSOLE
from tests.support.worlds import Case, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLICATIONS = Path(__file__).parents[2] / "infra" / "applications"
MAILBOX = "Mail.ReadBasic.All"
"""The product's permission that the committed registrations ask for."""
OWN = [entry for entry in catalogue(MAILBOX, role_watch=True) if entry.consumer is not Consumer.PRODUCT]
(ROLE_WATCH,) = (entry for entry in OWN if entry.optional)
CONSENTS = {
    Application.MAIL_FLOW: StepName.MAIL_FLOW_CONSENT,
    Application.DIRECTORY: StepName.DIRECTORY_CONSENT,
    Application.ACTIVITY: StepName.ACTIVITY_CONSENT,
}
NEEDED_BY = {
    Application.MAIL_FLOW: StepName.ROLE_ASSIGNMENT,
    Application.DIRECTORY: StepName.DIRECTORY_SYNC,
    Application.ACTIVITY: StepName.ACTIVITY_CONSENT,
}
"""The first step whose calls need an application's permissions."""
REFUSED = {Application.MAIL_FLOW: "401", Application.DIRECTORY: "403", Application.ACTIVITY: "403"}
"""Exchange answers 401 without its permission (measured: github.com/rknightion/graph2otel), Graph and the activity API 403."""
OF_THE_CONSENTS = [entry for entry in OWN if entry.application in CONSENTS and not entry.optional]
ASSIGNERS = {RoleMode.SIGN_IN: Application.ROLE_HELPER, RoleMode.APPLICATION: Application.ROLE_ASSIGNER}
LICENCES = {"without": ("SPE_E3",), "with": ("SPE_E5",)}
"""A tenant's subscriptions, without and with Privileged Identity Management."""
_DIRECTORY_ROLES = "/roleManagement/directory"
PLAIN = {(method, f"{_DIRECTORY_ROLES}/roleAssignments") for method in ("GET", "POST")}
WITH_LICENCE = {("POST", f"{_DIRECTORY_ROLES}/roleAssignmentScheduleRequests")}
LEFT_OUT = {"without": WITH_LICENCE, "with": PLAIN}
"""Method and path of the calls that only the other kind of tenant takes."""
_USERS_OF_A_GROUP = ("GET", "/groups/{group-id}/transitiveMembers/microsoft.graph.user")
OF_PEOPLE = {
    "group by address": {("GET", "/groups"), _USERS_OF_A_GROUP},
    "group by id": {("GET", "/groups/{group-id}"), _USERS_OF_A_GROUP},
    "users": {("POST", "/$batch"), ("GET", "/users")},
}
"""Method and path of the calls that find the users of a scope of people, in the place of the whole directory."""
OF_A_PART = {("POST", "/$batch"), ("GET", "/users/{user-id}")}
"""Of the calls that read a user of whom too little is known: it was missing when the directory was read, and changed since."""
WHOLE_DIRECTORY = {("GET", "/users"), ("GET", "/users/delta"), ("GET", "/groups/delta")}
NOT_IN_EVERY_SYNC = OF_A_PART.union(*OF_PEOPLE.values()) - WHOLE_DIRECTORY
CallKey = tuple[str, str, str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    """The running parts, with the registrations as they are committed."""
    async with open_world() as world:
        yield world


@contextmanager
def _registered_as(world: World, folder: Path, entries: Callable[[Application], Sequence[Permission]]) -> Iterator[None]:
    """Have the operator's registrations ask for these permissions, from changed copies of their files, for a while."""
    for path in APPLICATIONS.glob("*.json"):
        body = json.loads(path.read_text(encoding="utf-8"))
        if path.stem in set(Application):
            listed = {entry.permission_id: entry for entry in entries(Application(path.stem))}
            body["requiredResourceAccess"] = [
                {"resourceAppId": entry.resource, "resourceAccess": [{"id": key, "type": "Scope" if entry.delegated else "Role"}]}
                for key, entry in listed.items()
            ]
        (folder / path.name).write_text(json.dumps(body), encoding="utf-8")
    store = world.parts.simulation.store
    committed = dict(store.registrations)
    for changed in read_registrations(folder, CONSOLE):
        former = committed[changed.app_id]
        store.registrations[changed.app_id] = replace(former, required_permissions=changed.required_permissions)
    assert store.registrations != committed
    try:
        yield
    finally:
        store.registrations = committed


def _registered_without(world: World, entry: Permission, folder: Path) -> AbstractContextManager[None]:
    """Have the operator's registrations ask for all but one permission."""
    return _registered_as(world, folder, lambda name: [each for each in registered(name, MAILBOX) if each != entry])


async def _calls(case: Case, *statuses: str) -> set[CallKey]:
    """Return application, method and path of every call to an API for the tenant, of all or of some statuses."""
    names = {str(each["client_id"]): name for name, each in case.parts.facts["applications"].items()}
    found = [each for api in ("graph", "exchange", "activity") for each in await case.requests(api=api)]
    return {
        (
            names[each["app_id"]],
            each["method"],
            each["operation"] if each["api"] == "graph" else each["path"].replace(case.tenant_id, "{tenant}"),
        )
        for each in found
        if not statuses or str(each["status"]) in statuses
    }


def _calls_of(entry: Permission) -> set[CallKey]:
    """Return the calls that the list makes with a permission."""
    return {(call.application, call.method, call.path) for call in permissions.calls_of(entry)}


def _calls_of_a_grant(mode: RoleMode, licence: str) -> set[CallKey]:
    """Return the calls that the list has for a whole grant: this way to the role, in this kind of tenant."""
    applications = {Application.MAIL_FLOW, Application.DIRECTORY, Application.ACTIVITY, ASSIGNERS[mode]}
    entries = [entry for entry in OWN if entry.application in applications and not entry.optional]
    return {call for call in set().union(*map(_calls_of, entries)) if call[1:] not in LEFT_OUT[licence] | NOT_IN_EVERY_SYNC}


def _of_the_directory(calls: Iterable[tuple[str, str]]) -> set[CallKey]:
    return {(Application.DIRECTORY, method, path) for method, path in calls}


async def _tenant(world: World, licence: str = "without", **intent: Any) -> Case:
    """Return a new grant of a new tenant that has these subscriptions."""
    case = await world.case(**intent)
    await world.command(f"tenants/{case.tenant_id}", {"licences": LICENCES[licence]})
    return case


async def _complete(case: Case) -> None:
    """Do everything for the grant, with the activity data, and let the daily watch look once, and the daily sync."""
    await case.until(StepName.ACTIVITY_CONSENT)
    await case.act(StepName.ACTIVITY_CONSENT)
    await case.settle(StepName.ACTIVITY_CONSENT)
    await case.settle(StepName.ACCESS_WATCH)
    await case.settle(StepName.DAILY_SYNC)
    grant = await case.grant()
    assert grant.state is GrantState.COMPLETED
    later = {name for name, each in STEPS.items() if each.is_removal} | {StepName.MAIL_PROOF}
    assert [name for name, step in grant.steps.items() if not step.is_done and name not in later] == []


@pytest.mark.parametrize("licence", LICENCES)
@pytest.mark.parametrize("mode", ASSIGNERS)
async def test_a_whole_grant_makes_the_calls_of_the_list_and_no_other(world: World, mode: RoleMode, licence: str) -> None:
    """From the first consent to the daily watch every call to an API is in the list, and all of the list are made."""
    case = await _tenant(world, licence, role_mode=mode)
    await _complete(case)

    assert await _calls(case) == _calls_of_a_grant(mode, licence)
    assert await _calls(case, "401", "403") <= {
        (Application.MAIL_FLOW, "GET", "/adminapi/v1.0/{tenant}/EXOModuleFile"),  # the look whether the role is there already
    }


@pytest.mark.parametrize("kind", OF_PEOPLE)
async def test_a_scope_of_people_reads_them_alone(world: World, kind: str) -> None:
    """Neither other users nor other groups are asked for; of the rest of the directory only its name and its domains are."""
    case = await _tenant(world)
    group = next(each for each in case.tenant.groups.values() if each.display_name == "Sales")
    scopes = {
        "group by address": Scope(ScopeKind.GROUP, group=group.mail or ""),
        "group by id": Scope(ScopeKind.GROUP, group=group.id),
        "users": Scope(ScopeKind.USERS, users=(case.administrator,)),
    }
    await case.parts.container.engine.commit(
        case.grant_id, lambda grant, _: Decision(replace(grant, intent=replace(grant.intent, scope=scopes[kind])))
    )
    await case.until(StepName.DIRECTORY_SYNC)
    step = await case.settle(StepName.DIRECTORY_SYNC)

    assert step.is_done, step.problem
    assert step.facts["users"] > 0
    made = {call for call in await _calls(case) if call[0] == Application.DIRECTORY}
    names = ("Organization.Read.All", "Domain.Read.All")
    assert made == set().union(*(_calls_of(entry) for entry in OWN if entry.name in names)) | _of_the_directory(OF_PEOPLE[kind])


async def test_a_user_of_whom_too_little_is_known_is_read(world: World) -> None:
    """The list was older than the token, so a change tells of a user who is not stored: that one is read, by its id."""
    case = await _tenant(world)
    clock = world.parts.simulation.clock
    await case.until(StepName.DIRECTORY_SYNC)
    clock.advance(120)
    like = case.tenant.users.find(case.administrator)
    assert like is not None
    late = replace(like, id=case.tenant.new_id("user", "late"), user_principal_name=f"late@{case.domain}", proxy_addresses=())
    put_user(case.tenant, late, clock.now())
    case.parts.simulation.store.changed(case.tenant)
    await world.fault(r"/v1\.0/users\?(?!.*count=)", stale=60)
    await case.settle(StepName.DIRECTORY_SYNC)
    before = await _calls(case)
    put_user(case.tenant, replace(late, display_name="Late"), clock.now())
    case.parts.simulation.store.changed(case.tenant)

    await case.queue_again(StepName.DAILY_SYNC)
    step = await case.settle(StepName.DAILY_SYNC)

    assert step.is_done, step.problem
    assert await _calls(case) - before == _of_the_directory(OF_A_PART)
    assert not _of_the_directory(OF_A_PART) & await _calls(case, "401", "403")


async def test_the_kinds_of_grants_make_up_the_list() -> None:
    """Both ways to the role in both kinds of tenants, every scope, and the role watch leave no call of the list untried here."""
    made = set().union(*(_calls_of_a_grant(mode, licence) for mode in ASSIGNERS for licence in LICENCES))
    made |= _of_the_directory(OF_A_PART.union(*OF_PEOPLE.values()))

    assert made | _calls_of(ROLE_WATCH) == {(call.application, call.method, call.path) for call in CALLS}


@pytest.mark.parametrize("entry", OF_THE_CONSENTS, ids=lambda entry: entry.name)
async def test_a_consent_without_a_permission_is_none(world: World, tmp_path: Path, entry: Permission) -> None:
    """A registration that lacks a permission leaves the grant at its consent, which names what is missing."""
    name = CONSENTS[Application(entry.application)]
    with _registered_without(world, entry, tmp_path):
        case = await world.case()
        await case.until(name)
        await case.act(name)
        step = await case.work(name)

    assert (step.state, step.reason.rpartition("; ")[2]) == (StepState.WAITING, f"missing: {entry.name}")
    is_optional = STEPS[name].is_optional
    assert ((await case.grant()).steps[StepName.VERIFICATION].state is StepState.BLOCKED) != is_optional


@pytest.mark.parametrize("entry", OF_THE_CONSENTS, ids=lambda entry: entry.name)
async def test_each_permission_is_needed_by_a_call(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Permission
) -> None:
    """Were a permission not asked for, a call of its own would be refused by Microsoft, and its step would not be done."""
    expected = permissions.expected

    def without(application: str, settings: Settings) -> frozenset[str]:
        return expected(application, settings) - {entry.name}

    monkeypatch.setattr(permissions, "expected", without)
    application = Application(entry.application)
    name = NEEDED_BY[application]
    with _registered_without(world, entry, tmp_path):
        case = await world.case()
        await case.until(name)
        if name in (StepName.ROLE_ASSIGNMENT, StepName.ACTIVITY_CONSENT):
            await case.act(name)
            await case.work(name)
        step = await case.work(name)

    refused = {call for call in await _calls(case, REFUSED[application]) if call[0] == application}
    assert refused
    assert refused <= _calls_of(entry)
    assert step.state in (StepState.WAITING_FOR_PERSON, StepState.WAITING, StepState.BLOCKED)


async def test_the_role_helpers_permission_is_needed_by_its_calls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sign-in that asks for less the role can't be assigned: Microsoft refuses, and the step says so."""
    monkeypatch.setattr(redirects, "ROLE_SCOPE", "User.Read")
    case = await world.case()
    await case.until(StepName.ROLE_ASSIGNMENT)
    await case.act(StepName.ROLE_ASSIGNMENT)
    step = await case.work(StepName.ROLE_ASSIGNMENT)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "role_refused")
    refused = {call for call in await _calls(case, "403") if call[0] == Application.ROLE_HELPER}
    assert refused == {(Application.ROLE_HELPER, "GET", "/policies/roleManagementPolicyAssignments")}


async def test_the_role_assigners_permission_is_needed_by_its_calls(world: World, tmp_path: Path) -> None:
    """A consent to the role assigner without its permission allows nothing: Microsoft refuses its first call."""
    (entry,) = registered(Application.ROLE_ASSIGNER, MAILBOX)
    with _registered_without(world, entry, tmp_path):
        case = await world.case(role_mode=RoleMode.APPLICATION)
        await case.until(StepName.ROLE_ASSIGNMENT)
        asked = await case.settle(StepName.ROLE_ASSIGNMENT)
        await case.act(StepName.ROLE_ASSIGNMENT)
        step = await case.work(StepName.ROLE_ASSIGNMENT)

    assert asked.problem is not None
    assert (asked.state, asked.problem.code) == (StepState.WAITING_FOR_PERSON, "role_consent_needed")
    assert step.state is StepState.WAITING
    refused = {call for call in await _calls(case, "403") if call[0] == Application.ROLE_ASSIGNER}
    assert refused == {(Application.ROLE_ASSIGNER, "GET", "/policies/roleManagementPolicyAssignments")}


async def test_the_role_watch_makes_its_call_alone_and_breaks_nothing(tmp_path: Path) -> None:
    """With the optional permission the daily watch makes one more call; without it a grant is as complete."""
    async with open_world(GRANTLINE_ROLE_WATCH="true") as world:
        without = await _tenant(world, "with")
        await _complete(without)
        with _registered_as(world, tmp_path, lambda name: registered(name, MAILBOX, role_watch=True)):
            case = await _tenant(world, "with")
            await _complete(case)

        assert await _calls(without) == _calls_of_a_grant(RoleMode.SIGN_IN, "with")
        assert await _calls(case) == _calls_of_a_grant(RoleMode.SIGN_IN, "with") | _calls_of(ROLE_WATCH)
        assert (await without.grant()).steps[StepName.DIRECTORY_CONSENT].problem is None


async def test_without_the_product_nothing_is_asked_for_that_no_call_needs(tmp_path: Path) -> None:
    """Where the operator wants no permission for mailboxes, none is asked for, and a whole grant completes without."""
    (product,) = (entry for entry in registered("directory", MAILBOX) if entry.consumer is Consumer.PRODUCT)
    assert set(registered("directory", "")) == set(registered("directory", MAILBOX)) - {product}
    for application in Application:
        consumer = Consumer.BOTH if application is Application.ACTIVITY else Consumer.GRANTLINE
        assert {entry.consumer for entry in registered(application, "")} == {consumer}

    async with open_world(GRANTLINE_MAILBOX_PERMISSION="none") as world:
        with _registered_without(world, product, tmp_path):
            case = await world.case()
            await case.until(StepName.POLICY_ACTIVATION)
            await case.settle(StepName.POLICY_ACTIVATION)

        grant = await case.grant()
        assert grant.state is GrantState.COMPLETED
        asked = set(grant.steps[StepName.DIRECTORY_CONSENT].facts["permissions"])
        assert asked == {entry.name for entry in OWN if entry.application is Application.DIRECTORY and not entry.optional}


async def test_each_delegated_and_application_permission_has_a_call() -> None:
    """No permission of Grantline's own is in the list without a call of its own, so that the tests above cover them all."""
    assert [entry.name for entry in OWN if not _calls_of(entry)] == []
