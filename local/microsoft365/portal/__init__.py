"""The simulated Microsoft Entra admin center: its home and "Roles and administrators", as plain pages without script.

What is here is what an administrator sees in a tenant without Privileged Identity Management. The pages of a role stand
in one table, `ROLE_PAGES`: a tenant with Privileged Identity Management will have a table of its own.
"""

from __future__ import annotations

from aiohttp import web

from local.microsoft365.identity.signin import Browser
from local.microsoft365.portal.desk import HOME, SIGN_IN, Desk
from local.microsoft365.portal.overview import ROLES, home, list_roles
from local.microsoft365.portal.role import ROLE_PAGES


def routes(browser: Browser) -> list[web.RouteDef]:
    """Return the portal's routes; `browser` has the accounts that are signed in, shared with the identity platform."""
    desk = Desk(browser)
    browser.simulation.on_reset.append(desk.clear)
    return [
        *(web.route(method, SIGN_IN, desk.sign_in_page()) for method in ("GET", "POST")),
        web.get(HOME, desk.page(home)),
        web.get(ROLES, desk.page(list_roles)),
        *(web.route(each.method, each.path, desk.page(each.handler)) for each in ROLE_PAGES),
    ]
