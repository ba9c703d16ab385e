"""The simulated identity platform: sign-in, consent, tokens and what describes them."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from local.microsoft365.identity import metadata
from local.microsoft365.identity.adminconsent import AdminConsentEndpoint
from local.microsoft365.identity.authorize import AuthorizeEndpoint
from local.microsoft365.identity.sessions import Codes, Sessions
from local.microsoft365.identity.signin import Browser
from local.microsoft365.identity.token import TokenEndpoint
from local.microsoft365.simulation import Simulation


def new_browser(simulation: Simulation) -> Browser:
    """Return the pages and sessions that the identity platform shares with the portal; a reset forgets who is signed in."""
    browser = Browser(simulation, Sessions(), Codes())
    simulation.on_reset.extend((browser.sessions.clear, browser.codes.clear))
    return browser


def routes(browser: Browser) -> list[web.RouteDef]:
    """The routes of the identity platform."""
    pages: dict[str, Handler] = {
        "/{tenant}/oauth2/v2.0/authorize": AuthorizeEndpoint(browser).answer,
        "/{tenant}/adminconsent": AdminConsentEndpoint(browser, 1).answer,
        "/{tenant}/v2.0/adminconsent": AdminConsentEndpoint(browser, 2).answer,
    }

    async def sign_out(request: web.Request) -> web.Response:
        """End the browser's session; the page says so."""
        visit = await browser.visit(request)
        browser.sessions.sign_out(visit.session_id)
        return browser.page(visit, "signed_out.html")

    return [
        *metadata.routes(browser.simulation),
        *(web.route(method, path, handler) for path, handler in pages.items() for method in ("GET", "POST")),
        web.post("/{tenant}/oauth2/v2.0/token", TokenEndpoint(browser.simulation, browser.codes).answer),
        web.get("/{tenant}/oauth2/v2.0/logout", sign_out),
    ]
