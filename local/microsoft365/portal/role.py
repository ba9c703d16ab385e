"""One directory role's assignments: seeing, adding and removing them, in a tenant without Privileged Identity Management.

Steps and who may: learn.microsoft.com/entra/identity/role-based-access-control/manage-roles-portal (at least Privileged
Role Administrator) and /groups-remove-assignment ("When asked to confirm your action, select Yes"); the role's page for
an application: learn.microsoft.com/powershell/exchange/app-only-auth-powershell-v2, step 5. Listing is everybody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from aiohttp import web

from local.microsoft365.graph.permissions import permission_table
from local.microsoft365.identity.signin import PageShown
from local.microsoft365.model import ROLE_NAMES, Role, RoleAssignment
from local.microsoft365.portal.desk import PageHandler, Visitor
from local.microsoft365.portal.overview import ROLES
from local.microsoft365.portal.principals import find_principals, principal
from local.microsoft365.role_assignments import AlreadyAssignedError, UnknownPrincipalError, assign, holders, take_back

SHOWN = 50
"""How many principals a search shows at most."""
ADD = "POST /roleManagement/directory/roleAssignments"
REMOVE = "DELETE /roleManagement/directory/roleAssignments/{unifiedRoleAssignment-id}"
"""Graph's operations that do the same: who may do them there may do it here."""
ROLE_PATH = ROLES + "/{role}"
SCOPES = {"/": "Directory"}
REFUSED = (
    "Insufficient privileges to complete the operation. To assign or remove roles, sign in as at least a Privileged Role"
    " Administrator."
)


@dataclass(frozen=True, slots=True)
class RolePage:
    """One way to ask for a page of a role."""

    method: str
    path: str
    handler: PageHandler


@dataclass(frozen=True, slots=True)
class Row:
    """An assignment as the list shows it."""

    id: str
    name: str
    kind: str
    identifier: str
    scope: str


def show_assignments(visitor: Visitor) -> web.Response:
    """Return who holds the role."""
    return _assignments(visitor)


def choose_principals(visitor: Visitor) -> web.Response:
    """Return the page on which principals are searched for and selected."""
    return _choice(visitor)


def add_assignments(visitor: Visitor) -> web.Response:
    """Give the role to each selected principal; those whom it can't be given to are named, with the reason."""
    role = role_of(visitor)
    if not may(visitor, ADD):
        return _choice(visitor, 403, REFUSED)
    if not visitor.chosen:
        return _choice(visitor, 400, "Select at least one user or service principal to add.")
    faults = [fault for each in visitor.chosen if (fault := _add(visitor, role, each))]
    if faults:
        return _choice(visitor, 409, *faults)
    return visitor.go_to(address_of(role), f"Added {counted(len(visitor.chosen))} to {ROLE_NAMES[role]}.")


def remove_assignments(visitor: Visitor) -> web.Response:
    """Ask whether the selected assignments are to be removed and, once the answer is yes, remove them."""
    role = role_of(visitor)
    decision = visitor.visit.form.get("decision")
    selected = [
        each for each in holders(visitor.tenant, role, visitor.desk.browser.simulation.clock.now()) if each.id in visitor.chosen
    ]
    if decision == "no":
        return visitor.go_to(address_of(role))
    if not may(visitor, REMOVE):
        return _assignments(visitor, 403, REFUSED)
    if not selected:
        return _assignments(visitor, 400, "Select at least one assignment to remove.")
    if decision != "yes":
        return visitor.page("remove.html", role=role.value, name=ROLE_NAMES[role], rows=_rows(visitor, selected))
    for each in selected:
        take_back(visitor.tenant, each.id)
    visitor.desk.browser.simulation.store.changed(visitor.tenant)
    return visitor.go_to(address_of(role), f"Removed {counted(len(selected))} from {ROLE_NAMES[role]}.")


ROLE_PAGES = (
    RolePage("GET", ROLE_PATH, show_assignments),
    RolePage("GET", f"{ROLE_PATH}/add", choose_principals),
    RolePage("POST", f"{ROLE_PATH}/add", add_assignments),
    RolePage("POST", f"{ROLE_PATH}/remove", remove_assignments),
)


def unknown_page(visitor: Visitor) -> web.Response:
    """Return that there is nothing at the address."""
    return visitor.page("not_found.html", 404)


def role_of(visitor: Visitor) -> Role:
    """Return the role that the address names. Raises PageShown (404) when there is none."""
    identifier = visitor.visit.request.match_info["role"].lower()
    if identifier not in set(Role):
        raise PageShown(unknown_page(visitor))
    return Role(identifier)


def address_of(role: Role) -> str:
    """Return the address of a role's page."""
    return f"{ROLES}/{role.value}"


def may(visitor: Visitor, operation: str) -> bool:
    """Tell whether the person's directory roles let her do what this operation of Graph does."""
    return bool(visitor.role_ids & permission_table().delegated_roles[operation])


def _add(visitor: Visitor, role: Role, principal_id: str) -> str:
    """Give the role; return what stood in the way, empty where nothing did."""
    simulation = visitor.desk.browser.simulation
    try:
        assign(visitor.tenant, role, principal_id, simulation.clock.now(), simulation.settings.role_delay)
    except UnknownPrincipalError:
        return f"{principal_id} does not exist in this directory."
    except AlreadyAssignedError:
        return f"{principal(visitor.tenant, principal_id).name} is already assigned to {ROLE_NAMES[role]}."
    simulation.store.changed(visitor.tenant)
    return ""


def _assignments(visitor: Visitor, status: int = 200, *faults: str) -> web.Response:
    role = role_of(visitor)
    rows = _rows(visitor, holders(visitor.tenant, role, visitor.desk.browser.simulation.clock.now()))
    return visitor.page("assignments.html", status, role=role.value, name=ROLE_NAMES[role], rows=rows, faults=faults)


def _rows(visitor: Visitor, assignments: list[RoleAssignment] | tuple[RoleAssignment, ...]) -> list[Row]:
    found = [(each, principal(visitor.tenant, each.principal_id)) for each in assignments]
    return [
        Row(each.id, who.name, who.kind, who.identifier, SCOPES.get(each.directory_scope_id, each.directory_scope_id))
        for each, who in found
    ]


def _choice(visitor: Visitor, status: int = 200, *faults: str) -> web.Response:
    role = role_of(visitor)
    search = visitor.visit.parameter("search").strip()
    now = visitor.desk.browser.simulation.clock.now()
    found = list(islice(find_principals(visitor.tenant, search, now), SHOWN + 1))
    return visitor.page(
        "add.html",
        status,
        role=role.value,
        name=ROLE_NAMES[role],
        search=search,
        rows=found[:SHOWN],
        more=len(found) > SHOWN,
        faults=faults,
    )


def counted(number: int) -> str:
    """Return a number of assignments in words."""
    return "1 assignment" if number == 1 else f"{number} assignments"
