"""The app registrations ask for what the catalogue of permissions says, under Microsoft's ids, and no more than calls need."""

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from shared.microsoft import open_microsoft, permissions
from shared.microsoft.permissions import CALLS, Application, Consumer, Permission, Resource
from shared.ports import SignInRequest
from shared.settings import Settings, load
from tests.support.app_settings import APP_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "infra" / "applications"
CONTRACTS = ROOT.parent / "shared" / "contracts" / "permissions-slice.json"
MAILBOX = ("", "Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite")
GRAPH = [call for call in CALLS if call.application not in (Application.MAIL_FLOW, Application.ACTIVITY)]
ASSIGNERS = (Application.ROLE_HELPER, Application.ROLE_ASSIGNER)
"""The applications that may assign roles."""


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("registrations", ROOT / "tools" / "registrations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BY_THEIR_PAGES: Mapping[str, Any] = {
    # learn.microsoft.com/graph/api/domain-list-serviceconfigurationrecords
    "GET /domains/{domain-id}/serviceConfigurationRecords": {
        "schemes": {"Application": {"least": ["Domain.Read.All"], "all": ["Domain.Read.All", "Domain.ReadWrite.All"]}}
    },
    # learn.microsoft.com/graph/api/group-list-transitivemembers; the data has no row for the cast to users
    "GET /groups/{group-id}/transitiveMembers/microsoft.graph.user": {
        "schemes": {"Application": {"least": ["GroupMember.Read.All"], "all": ["GroupMember.Read.All", "Group.Read.All"]}}
    },
    # learn.microsoft.com/graph/json-batching: what the requests in it need, here those of users alone
    "POST /$batch": {"schemes": {"Application": {"least": ["User.Read.All"], "all": ["User.Read.All"]}}},
}
"""Calls that the data does not have, with what their pages say."""


def _slice() -> dict[str, Any]:
    if not CONTRACTS.is_file():
        if os.environ.get("CI") and CONTRACTS.parent.parent.is_dir():
            pytest.fail(f"{CONTRACTS.name} is missing")
        pytest.skip("Microsoft's permission data (../shared/contracts) is not here")
    data: dict[str, Any] = json.loads(CONTRACTS.read_text(encoding="utf-8"))
    assert not BY_THEIR_PAGES.keys() & data["operations"].keys()
    data["operations"] |= BY_THEIR_PAGES
    return data


def _all_permissions() -> list[Permission]:
    found = {
        (entry.application, entry.name): entry for choice in MAILBOX for entry in permissions.catalogue(choice, role_watch=True)
    }
    return list(found.values())


def _label(entry: Permission) -> str:
    return f"{entry.application}: {entry.name}"


def _call_label(call: permissions.Call) -> str:
    return f"{call.application}: {call.method} {call.path}"


def test_files_are_as_the_catalogue_says(capsys: pytest.CaptureFixture[str]) -> None:
    """The committed registrations are exactly what the tool writes."""
    assert _tool().main(["--check"]) == 0, capsys.readouterr().out


def test_check_tells_a_changed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registration that somebody edited by hand, or that is missing, fails the check."""
    tool = _tool()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0

    changed = tmp_path / "directory.json"
    changed.write_text(changed.read_text(encoding="utf-8").replace("Role", "Scope"), encoding="utf-8")

    assert tool.main(["--check"]) == 1


@pytest.mark.parametrize("application", list(Application))
def test_sign_in_shows_directory_roles(application: Application) -> None:
    """Every registration has ``wids`` in its id_tokens, is multi-tenant, and returns to the console alone."""
    body = json.loads((ROOT / "infra" / "applications" / f"{application.value}.json").read_text(encoding="utf-8"))

    assert body["groupMembershipClaims"] == "DirectoryRole"
    assert body["signInAudience"] == "AzureADMultipleOrgs"
    assert body["web"]["redirectUris"] == ["https://console.invalid/signed-in", "https://console.invalid/consented"]
    assert "appId" not in body


@pytest.mark.parametrize("entry", _all_permissions(), ids=_label)
def test_ids_are_microsofts(entry: Permission) -> None:
    """Each permission carries the id that Microsoft publishes for its kind."""
    data = _slice()
    if entry.resource is not Resource.GRAPH:
        resource = data["other_resources"][permissions.RESOURCE_NAMES[entry.resource]]
        assert resource["resourceAppId"] == entry.resource.value
        assert resource["appRoles"][entry.name] == entry.permission_id
    else:
        kind = "DelegatedWork" if entry.delegated else "Application"
        assert data["permissions"][entry.name]["ids"][kind] == entry.permission_id


@pytest.mark.parametrize("call", GRAPH, ids=_call_label)
def test_calls_use_a_documented_permission(call: permissions.Call) -> None:
    """Each Graph call is made with a permission that Microsoft lists for it."""
    scheme = "DelegatedWork" if call.application is Application.ROLE_HELPER else "Application"
    operation = _slice()["operations"][f"{call.method} {call.path}"]["schemes"][scheme]

    assert call.permission in operation["all"]


_ONE_FOR_ALL = (
    "assigning without Privileged Identity Management takes RoleManagement.ReadWrite.Directory alone, which covers this"
)
LEAST_DEPARTURES = {
    (
        Application.DIRECTORY,
        "GET /organization",
    ): "the least is of Intune; Organization.Read.All is the narrowest of its own",
    **{
        (Application.DIRECTORY, f"GET {path}"): "the least shows basic profiles: no proxyAddresses, accountEnabled or userType"
        for path in ("/users", "/users/{user-id}")
    },
    **{
        (Application.DIRECTORY, f"GET {path}"): "the least tells no members; the permission that does covers this as well"
        for path in ("/groups", "/groups/{group-id}", "/groups/delta")
    },
    **{
        (application, f"GET {path}"): _ONE_FOR_ALL
        for application in ASSIGNERS
        for path in (
            "/policies/roleManagementPolicyAssignments",
            "/roleManagement/directory/roleAssignmentScheduleInstances",
        )
    },
    (Application.ROLE_HELPER, "POST /roleManagement/directory/roleAssignmentScheduleRequests"): _ONE_FOR_ALL,
}
"""Calls that are not made with the permission that the data marks as the least, and why."""


@pytest.mark.parametrize("call", GRAPH, ids=_call_label)
def test_calls_use_the_least_permission(call: permissions.Call) -> None:
    """Each Graph call is made with the permission that Microsoft marks as the least, but for the departures named here."""
    scheme = "DelegatedWork" if call.application is Application.ROLE_HELPER else "Application"
    least = _slice()["operations"][f"{call.method} {call.path}"]["schemes"][scheme]["least"]

    assert (call.permission in least) != ((call.application, f"{call.method} {call.path}") in LEAST_DEPARTURES)


def test_every_permission_of_grantline_is_needed_by_a_call() -> None:
    """No permission is asked for that no call needs, except the product's, which a setting names."""
    needed = {(call.application, call.permission) for call in CALLS}
    asked = {(entry.application, entry.name) for entry in _all_permissions() if entry.consumer is not Consumer.PRODUCT}

    assert asked == needed


@pytest.mark.parametrize("choice", MAILBOX)
def test_the_product_has_the_chosen_permission_alone(choice: str) -> None:
    """The setting decides which permission for all mailboxes is asked for; none when it is empty."""
    product = {(entry.application, entry.name) for entry in permissions.catalogue(choice) if entry.consumer is Consumer.PRODUCT}

    assert product == ({(Application.DIRECTORY, choice)} if choice else set())


def test_activity_data_is_read_and_nothing_else() -> None:
    """The activity application asks for one permission of one service, without a person's own rights."""
    (entry,) = permissions.registered(Application.ACTIVITY, "Mail.ReadWrite")

    assert (entry.resource, entry.name, entry.delegated) == (Resource.MANAGEMENT, "ActivityFeed.Read", False)
    assert entry.consumer is Consumer.BOTH
    assert "protection based on user behavior" in entry.reason


def test_no_standing_right_to_assign_roles() -> None:
    """Only the role helper and the role assigner may assign roles, and only the latter, which is optional, without a person."""
    for entry in _all_permissions():
        assert entry.delegated == (entry.application is Application.ROLE_HELPER)
        assert (entry.name == "RoleManagement.ReadWrite.Directory") == (entry.application in ASSIGNERS)
    assert not Settings.model_fields["role_assigner_client_id"].is_required()


def test_one_permission_is_the_least_that_assigns_everywhere() -> None:
    """Microsoft lists no other permission for an assignment without Privileged Identity Management, so one suffices for all."""
    operations = _slice()["operations"]
    for scheme in ("Application", "DelegatedWork"):
        plain = operations["POST /roleManagement/directory/roleAssignments"]["schemes"][scheme]["all"]
        assert plain == ["RoleManagement.ReadWrite.Directory"]


def test_only_the_role_watch_is_optional() -> None:
    """It is listed where the operator wants it, shows and changes nothing else, and no consent waits for it."""
    without, watching = (set(permissions.registered("directory", "", role_watch=wanted)) for wanted in (False, True))
    (entry,) = watching - without

    assert without < watching
    assert [each for each in _all_permissions() if each.optional] == [entry]
    assert entry.name == "RoleAssignmentSchedule.Read.Directory"


@pytest.mark.parametrize("role_watch", [False, True])
async def test_the_settings_decide_on_the_role_watch(role_watch: bool) -> None:
    """What is optional is neither expected nor forgotten: it is asked for, and known, where the operator wants it."""
    settings = load({**APP_SETTINGS, "GRANTLINE_ROLE_WATCH": str(role_watch)})
    watch = {"RoleAssignmentSchedule.Read.Directory"} if role_watch else set()

    required = {entry.name for entry in permissions.registered("directory", MAILBOX[1])}
    assert permissions.optional("directory", settings) == watch
    assert permissions.expected("directory", settings) == required
    assert {entry.name for entry in permissions.asked("directory", settings)} == required | watch
    assert all(not permissions.optional(each, settings) for each in Application if each is not Application.DIRECTORY)
    microsoft = open_microsoft(settings)
    assert microsoft.identity.optional_permissions("directory") == watch
    assert microsoft.identity.required_permissions("directory") == required
    assert {each.name for each in microsoft.identity.asked_permissions("directory") if each.is_optional} == watch
    await microsoft.close()


def test_the_directory_is_registered_with_and_without_the_role_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool writes what the catalogue has for either choice; only the directory application's file differs."""
    tool = _tool()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "FOLDER", tmp_path)
    assert tool.main(["--role-watch"]) == 0

    changed = {path.name for path in tmp_path.iterdir() if path.read_text() != (FILES / path.name).read_text()}
    (graph,) = json.loads((tmp_path / "directory.json").read_text())["requiredResourceAccess"]

    assert changed == {"directory.json"}
    assert {"id": "d5fe8ce8-684c-4c83-a52c-46e882ce4be1", "type": "Role"} in graph["resourceAccess"]


async def test_sign_in_asks_for_these_scopes() -> None:
    """Of a person, only what the list says is asked for; both scopes are OpenID Connect's."""
    request = SignInRequest("directory", "organizations", "https://console.invalid/signed-in", "s", "n", "v" * 43)
    microsoft = open_microsoft(load(APP_SETTINGS))
    url = microsoft.sign_in.authorization_url(request)
    await microsoft.close()

    assert parse_qs(urlsplit(url).query)["scope"] == [" ".join(scope.name for scope in permissions.SIGN_IN_SCOPES)]


def test_people_read_a_reason_and_a_risk() -> None:
    """Every permission says in a sentence what it is for and what it exposes."""
    for entry in _all_permissions():
        assert entry.reason.endswith(".")
        assert entry.risk.endswith(".")
