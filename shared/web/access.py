"""Who may: each route's audience, in one table. A route without a line here is refused.

The platform lets anonymous requests in, because Microsoft's redirects and onboarding links are for people without a console
account. Operators are signed in by App Service Authentication, whose header is trusted only when the platform says that it is on
(https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities); otherwise nobody is an operator.
"""

import hashlib
import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.consent.sealing import derive
from shared.settings import Settings
from shared.web.http import Request, Visitor


class Role(StrEnum):
    """The app roles of the console's registration, each with all that the one before it may."""

    VIEWER = "Grantline.Viewer"
    OPERATOR = "Grantline.Operator"
    ADMINISTRATOR = "Grantline.Administrator"


RANKS: Mapping[str, int] = {role: rank for rank, role in enumerate(Role, start=1)}
"""How much each role may: a higher rank may all that a lower one may."""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who a route is for: those with ``role`` or a higher one, anyone where there is none.

    ``link_holder``: the browser that used the onboarding link of the route's grant, too.
    """

    role: Role | None = None
    link_holder: bool = False


ANYONE = Audience()
VIEWERS = Audience(Role.VIEWER)
OPERATORS = Audience(Role.OPERATOR)
WATCHERS = Audience(Role.VIEWER, link_holder=True)
"""Who may look at one grant."""
DOERS = Audience(Role.OPERATOR, link_holder=True)
"""Who may do a person's part of one grant."""

AUDIENCES: Mapping[str, Audience] = {
    "console_dashboard": VIEWERS,
    "console_dismiss": VIEWERS,
    "console_service_accounts": VIEWERS,
    "console_service_account": VIEWERS,
    "console_permissions": VIEWERS,
    "console_grant_access": OPERATORS,
    "console_start": OPERATORS,
    "console_grant": WATCHERS,
    "console_live": WATCHERS,
    "console_history": WATCHERS,
    "console_grant_command": DOERS,
    "console_role_script": WATCHERS,
    "console_release": DOERS,
    "console_plan": WATCHERS,
    "console_remove": OPERATORS,
    "console_static": ANYONE,
    "console_onboarding_link": OPERATORS,
    "onboarding_open": ANYONE,
    "onboarding_accept": ANYONE,
    "consent_begin": DOERS,
    "consent_transfer": DOERS,
    "consent_release": DOERS,
    "consent_signed_in": ANYONE,
    "consent_consented": ANYONE,
    "api_accounts": VIEWERS,
    "api_service_accounts": VIEWERS,
    "api_summary": VIEWERS,
    "api_start": OPERATORS,
    "api_grant": WATCHERS,
    "api_receipt": WATCHERS,
    "api_events": WATCHERS,
    "api_plan": WATCHERS,
    "api_findings": WATCHERS,
    "api_proof": WATCHERS,
    "api_removal": WATCHERS,
    "api_grant_command": DOERS,
    "api_openapi": ANYONE,
    "api_onboarding_link": OPERATORS,
    "healthz": ANYONE,
}
"""The audience of every HTTP function, by its name."""

COMMANDS: Mapping[str, Audience] = {
    "grant.start": OPERATORS,
    "step.retry": DOERS,
    "role_mode.choose": DOERS,
    "plan.approve": OPERATORS,
    "finding.acknowledge": OPERATORS,
    "finding.fix": OPERATORS,
    "routing.pause": OPERATORS,
    "routing.resume": OPERATORS,
    "grant.remove": OPERATORS,
    "removal.waive": OPERATORS,
    "scanner.report": OPERATORS,
    "probe.report": OPERATORS,
}
"""The audience of every command, by its type. An onboarding link lets somebody do a person's part; what becomes of the mail is
the operators' to decide: whoever holds a link has proved nothing yet."""

DEVELOPER = Visitor("developer on this machine", Role.ADMINISTRATOR)
NOBODY = Visitor()
CHALLENGE = "Bearer"
"""What a program that is not signed in is told to bring (RFC 6750, section 3: without an error, for it brought nothing)."""
ROLE_CLAIMS = frozenset({"roles", "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"})
"""The types under which App Service hands on Entra's ``roles`` claim, before and after its mapping of claims."""

NAME_CLAIMS = (
    "preferred_username",
    "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn",
    "name",
    "azp",
    "appid",
    "http://schemas.microsoft.com/identity/claims/objectidentifier",
)
"""Where a name is looked for when the claim that App Service calls the name is missing: it calls an e-mail address so, which
Entra leaves out of most tokens; an application has its client id only."""


def who(request: Request, settings: Settings) -> Visitor:
    """Return who is signed in to the console; nobody, where it is not certain or no role is assigned."""
    if settings.development_identity:
        return DEVELOPER
    header = request.headers.get("x-ms-client-principal", "")
    if not settings.sign_in_on or not header:
        return NOBODY
    try:
        return _read_principal(json.loads(b64decode(header, validate=True)))
    except (ValueError, KeyError, TypeError, AttributeError):
        return NOBODY


def _read_principal(principal: Any) -> Visitor:
    claims = [(claim["typ"], str(claim["val"])) for claim in principal["claims"]]
    named = dict(reversed(claims))
    name = next((named[kind] for kind in (principal.get("name_typ"), *NAME_CLAIMS) if named.get(kind)), "")
    kinds = ROLE_CLAIMS | {principal.get("role_typ")}
    roles = [value for kind, value in claims if kind in kinds and value in RANKS]
    return Visitor(name, max(roles, key=RANKS.__getitem__)) if name and roles else NOBODY


def may(route: str, visitor: Visitor, *, is_holder: bool = False) -> bool:
    """Tell whether a route is open to this visitor. ``is_holder``: who holds the onboarding link of the route's grant."""
    audience = AUDIENCES.get(route)
    if audience is None:
        return False
    if audience.role is None or (audience.link_holder and is_holder):
        return True
    return RANKS.get(visitor.role, 0) >= RANKS[audience.role]


def may_command(kind: str, visitor: Visitor) -> bool:
    """Tell whether a visitor whom a grant's commands are open to may give one of this type: as an operator, or by the link."""
    audience = COMMANDS.get(kind)
    if audience is None or audience.role is None:
        return False
    return audience.link_holder or RANKS.get(visitor.role, 0) >= RANKS[audience.role]


def refusal(request: Request, settings: Settings) -> str:
    """Return the code of the problem with a request that changes something and may come from another site; "" for none.

    Cross-site request forgery: browsers send Origin with every POST (https://fetch.spec.whatwg.org, "append a request Origin
    header"). A form also brings the token that only our page, in this browser, holds (OWASP's CSRF cheat sheet, "Signed
    Double-Submit Cookie"). The API takes JSON alone, which no form can send and no other site may; a program sends no Origin.
    """
    if request.method in ("GET", "HEAD"):
        return ""
    origin = request.headers.get("origin")
    if request.is_api:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        is_json = kind == "application/json" or not (kind or request.body)
        return "not_json" if not is_json else "" if origin in (None, settings.public_url) else "form_expired"
    token = request.form().get("csrf", [""])[-1]
    is_ours = hmac.compare_digest(token.encode(), form_token(request.browser, settings).encode())
    return "" if is_ours and origin == settings.public_url else "form_expired"


def is_unknown(request: Request, settings: Settings) -> bool:
    """Tell whether a refused request has shown no sign-in at all, so that one would help: 401 then, and 403 otherwise.

    A reply 401 names a way to sign in (RFC 9110, 15.5.2). There is one for programs: App Service Authentication takes an access
    token as ``Authorization: Bearer`` (RFC 6750), and hands on whom it found.
    """
    return not (settings.sign_in_on and request.headers.get("x-ms-client-principal"))


def form_token(browser: str, settings: Settings) -> str:
    """Return the token that a form of this console carries, in this browser."""
    key = derive(settings.sealing_key, "grantline form token v1")
    return hmac.new(key, browser.encode(), hashlib.sha256).hexdigest()
