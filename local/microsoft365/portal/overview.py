"""The portal's home page, and the list of all directory roles.

Words: learn.microsoft.com/entra/identity/role-based-access-control/manage-roles-portal and /view-assignments.
"""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from local.microsoft365.identity.people import enter
from local.microsoft365.model import ROLE_NAMES
from local.microsoft365.portal.desk import Visitor

ROLES = "/portal/roles"
DIRECTORIES = "/portal/directories"


def home(visitor: Visitor) -> web.Response:
    """Return the page that the admin center begins with. What the fragment of a deep link asks for, no server sees."""
    return visitor.page("home.html")


def list_roles(visitor: Visitor) -> web.Response:
    """Return the built-in roles whose name contains what is searched for. Everybody who is signed in may see them."""
    search = visitor.visit.parameter("search").strip()
    counts = Counter(each.role_definition_id for each in visitor.tenant.role_assignments.values())
    found = {role: name for role, name in ROLE_NAMES.items() if search.casefold() in name.casefold()}
    rows = [(role.value, name, counts[role]) for role, name in sorted(found.items(), key=lambda item: item[1])]
    return visitor.page("roles.html", search=search, rows=rows)


def list_directories(visitor: Visitor) -> web.Response:
    """Return the tenants that the person may enter: at home, as a guest, or for a partner.

    Source: learn.microsoft.com/azure/azure-portal/set-preferences ("Directories + subscriptions", "Switch").
    """
    store, account = visitor.desk.browser.simulation.store, visitor.person.account
    rows = [each for each in store.tenants.values() if enter(store, each, account)]
    return visitor.page("directories.html", rows=rows)
