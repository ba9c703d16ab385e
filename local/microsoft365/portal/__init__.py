"""The simulated Microsoft Entra admin center: its home and "Roles and administrators", as plain pages without script.

The pages of a role stand in two tables, `ROLE_PAGES` and, for a tenant with Privileged Identity Management,
`PRIVILEGED_PAGES`: the tenant's licences decide which one answers.
"""

from __future__ import annotations

from aiohttp import web

from local.microsoft365.identity.signin import Browser
from local.microsoft365.licences import pim_of
from local.microsoft365.portal.desk import HOME, SIGN_IN, Desk, PageHandler, Visitor
from local.microsoft365.portal.overview import DIRECTORIES, ROLES, home, list_directories, list_roles
from local.microsoft365.portal.privileged import PRIVILEGED_PAGES
from local.microsoft365.portal.role import ROLE_PAGES, unknown_page

_PLAIN = {(each.method, each.path): each.handler for each in ROLE_PAGES}
_PRIVILEGED = {(each.method, each.path): each.handler for each in PRIVILEGED_PAGES}


def routes(browser: Browser) -> list[web.RouteDef]:
    """Return the portal's routes; `browser` has the accounts that are signed in, shared with the identity platform."""
    desk = Desk(browser)
    browser.simulation.on_reset.append(desk.clear)
    return [
        *(web.route(method, SIGN_IN, desk.sign_in_page()) for method in ("GET", "POST")),
        web.get(HOME, desk.page(home)),
        web.get(DIRECTORIES, desk.page(list_directories)),
        web.get(ROLES, desk.page(list_roles)),
        *(web.route(*way, desk.page(_of_the_tenant(way))) for way in sorted(_PLAIN | _PRIVILEGED)),
    ]


def _of_the_tenant(way: tuple[str, str]) -> PageHandler:
    """Return the handler that looks which kind of tenant it is; a page of the other kind is not found."""

    def handler(visitor: Visitor) -> web.Response:
        table = _PRIVILEGED if pim_of(visitor.tenant) else _PLAIN
        return table.get(way, unknown_page)(visitor)

    return handler
