"""Least privilege: every permission that Grantline asks for is needed by a call, and every call is in the one list.

Each permission is taken away in turn, from the registration or from the sign-in; what then happens to a grant shows the need.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from local.microsoft365.registrations import read_registrations
from shared.domain.grant import GrantState
from shared.domain.steps import StepName, StepState
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
OWN = [entry for entry in catalogue(MAILBOX) if entry.consumer is Consumer.GRANTLINE]
OF_THE_APPLICATIONS = [entry for entry in OWN if not entry.delegated]
CONSENTS = {
    Application.MAIL_FLOW: StepName.MAIL_FLOW_CONSENT,
    Application.DIRECTORY: StepName.DIRECTORY_CONSENT,
}
NEEDED_BY = {
    Application.MAIL_FLOW: StepName.ROLE_ASSIGNMENT,
    Application.DIRECTORY: StepName.DIRECTORY_SYNC,
}
"""The first step whose calls need an application's permissions."""
REFUSED = {Application.MAIL_FLOW: "401", Application.DIRECTORY: "403"}
"""Exchange answers 401 without its permission (measured: github.com/rknightion/graph2otel), Graph 403."""
CallKey = tuple[str, str, str]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[World]:
    """The running parts, with the registrations as they are committed."""
    async with open_world() as world:
        yield world


@contextmanager
def _registered_without(world: World, entry: Permission, folder: Path) -> Iterator[None]:
    """Have the operator's registration ask for all but one permission, from a changed copy of its file, for a while."""
    for path in APPLICATIONS.glob("*.json"):
        body = json.loads(path.read_text(encoding="utf-8"))
        for resource in body.get("requiredResourceAccess", ()):  # the console's own has none
            resource["resourceAccess"] = [each for each in resource["resourceAccess"] if each["id"] != entry.permission_id]
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


async def _calls(case: Case, *statuses: str) -> set[CallKey]:
    """Return application, method and path of every call to Graph and Exchange for the tenant, of all or of some statuses."""
    names = {str(each["client_id"]): name for name, each in case.parts.facts["applications"].items()}
    found = [each for api in ("graph", "exchange") for each in await case.requests(api=api)]
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
    return {
        (call.application, call.method, call.path)
        for call in CALLS
        if (call.application, call.permission) == (entry.application, entry.name)
    }


async def test_a_whole_grant_makes_the_calls_of_the_list_and_no_other(world: World) -> None:
    """From the first consent to the last switch every call to Graph and Exchange is in the list, and all of the list are made."""
    case = await world.case()
    await case.until(StepName.POLICY_ACTIVATION)
    await case.settle(StepName.POLICY_ACTIVATION)

    assert (await case.grant()).state is GrantState.COMPLETED
    assert await _calls(case) == set().union(*map(_calls_of, OWN))
    assert await _calls(case, "401", "403") <= {
        (Application.MAIL_FLOW, "GET", "/adminapi/v1.0/{tenant}/EXOModuleFile"),  # the look whether the role is there already
    }


@pytest.mark.parametrize("entry", OF_THE_APPLICATIONS, ids=lambda entry: entry.name)
async def test_a_consent_without_a_permission_is_none(world: World, tmp_path: Path, entry: Permission) -> None:
    """A registration that lacks a permission leaves the grant at its consent, which names what is missing."""
    name = CONSENTS[Application(entry.application)]
    with _registered_without(world, entry, tmp_path):
        case = await world.case()
        await case.until(name)
        await case.act(name)
        step = await case.work(name)

    assert (step.state, step.reason.rpartition("; ")[2]) == (StepState.WAITING, f"missing: {entry.name}")
    assert (await case.grant()).steps[StepName.VERIFICATION].state is StepState.BLOCKED


@pytest.mark.parametrize("entry", OF_THE_APPLICATIONS, ids=lambda entry: entry.name)
async def test_each_permission_is_needed_by_a_call(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Permission
) -> None:
    """Were a permission not asked for, a call of its own would be refused by Microsoft, and the grant would not complete."""
    expected = permissions.expected

    def without(application: str, settings: Settings) -> frozenset[str]:
        return expected(application, settings) - {entry.name}

    monkeypatch.setattr(permissions, "expected", without)
    application = Application(entry.application)
    with _registered_without(world, entry, tmp_path):
        case = await world.case()
        await case.until(NEEDED_BY[application])
        if application is Application.MAIL_FLOW:
            await case.act(StepName.ROLE_ASSIGNMENT)
            await case.work(StepName.ROLE_ASSIGNMENT)
        step = await case.work(NEEDED_BY[application])

    refused = {call for call in await _calls(case, REFUSED[application]) if call[0] == application}
    assert refused
    assert refused <= _calls_of(entry)
    assert step.state in (StepState.WAITING_FOR_PERSON, StepState.WAITING, StepState.BLOCKED)
    assert (await case.grant()).steps[StepName.VERIFICATION].state is StepState.BLOCKED


async def test_the_role_helpers_permission_is_needed_by_its_calls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sign-in that asks for less the role can't be assigned: Microsoft refuses, and the step says so."""
    monkeypatch.setattr(redirects, "ROLE_SCOPE", "User.Read")
    case = await world.case()
    await case.until(StepName.ROLE_ASSIGNMENT)
    await case.act(StepName.ROLE_ASSIGNMENT)
    step = await case.work(StepName.ROLE_ASSIGNMENT)
    (entry,) = (each for each in OWN if each.delegated)

    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "role_refused")
    refused = await _calls(case, "403") & _calls_of(entry)
    assert refused == {(Application.ROLE_HELPER, "GET", "/roleManagement/directory/roleAssignments")}


async def test_without_the_product_nothing_is_asked_for_that_no_call_needs(tmp_path: Path) -> None:
    """Where the operator wants no permission for mailboxes, none is asked for, and a whole grant completes without."""
    (product,) = (entry for entry in registered("directory", MAILBOX) if entry.consumer is Consumer.PRODUCT)
    assert set(registered("directory", "")) == set(registered("directory", MAILBOX)) - {product}
    for application in Application:
        consumer = Consumer.PRODUCT if application is Application.ACTIVITY else Consumer.GRANTLINE
        assert {entry.consumer for entry in registered(application, "")} == {consumer}

    async with open_world(GRANTLINE_MAILBOX_PERMISSION="none") as world:
        with _registered_without(world, product, tmp_path):
            case = await world.case()
            await case.until(StepName.POLICY_ACTIVATION)
            await case.settle(StepName.POLICY_ACTIVATION)

        grant = await case.grant()
        assert grant.state is GrantState.COMPLETED
        asked = set(grant.steps[StepName.DIRECTORY_CONSENT].facts["permissions"])
        assert asked == {entry.name for entry in OWN if entry.application is Application.DIRECTORY}


async def test_each_delegated_and_application_permission_has_a_call() -> None:
    """No permission of Grantline's own is in the list without a call of its own, so that the tests above cover them all."""
    assert [entry.name for entry in OWN if not _calls_of(entry)] == []
