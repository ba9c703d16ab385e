"""Who may: each route's audience, in one table. A route without a line here is refused.

The platform lets anonymous requests in, because Microsoft's redirects come from people without a console account. Operators are
signed in by App Service Authentication, whose header is trusted only when the platform says that it is on
(https://learn.microsoft.com/azure/app-service/configure-authentication-user-identities); otherwise nobody is an operator.
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from enum import StrEnum

from shared.settings import Settings
from shared.web.http import Request


class Audience(StrEnum):
    """Who a route is for."""

    ANYONE = "anyone"
    OPERATOR = "operator"


AUDIENCES: Mapping[str, Audience] = {
    "console_dashboard": Audience.OPERATOR,
    "console_grant_access": Audience.OPERATOR,
    "console_grant": Audience.OPERATOR,
    "console_command": Audience.OPERATOR,
    "console_static": Audience.ANYONE,
    "consent_begin": Audience.OPERATOR,
    "consent_signed_in": Audience.ANYONE,
    "consent_consented": Audience.ANYONE,
    "api_grant": Audience.OPERATOR,
    "api_receipt": Audience.OPERATOR,
    "healthz": Audience.ANYONE,
}
"""The audience of every HTTP function, by its name."""

DEVELOPER = "developer on this machine"


def who(request: Request, settings: Settings) -> str:
    """Return the name of the signed-in operator, "" for nobody."""
    if settings.development_identity:
        return DEVELOPER
    header = request.headers.get("x-ms-client-principal", "")
    if not settings.sign_in_on or not header:
        return ""
    try:
        principal = json.loads(b64decode(header, validate=True))
        claims = {claim["typ"]: claim["val"] for claim in principal["claims"]}
        name = claims.get(principal.get("name_typ", ""), "")
    except (ValueError, KeyError, TypeError):
        return ""
    return str(name or request.headers.get("x-ms-client-principal-name", ""))


def may(route: str, operator: str) -> bool:
    """Tell whether a route is open to this operator ("" for nobody)."""
    audience = AUDIENCES.get(route)
    return audience is Audience.ANYONE or (audience is Audience.OPERATOR and bool(operator))


def is_from_here(request: Request, settings: Settings) -> bool:
    """Tell whether a request that changes something was sent by a page of this console (cross-site request forgery).

    Browsers send Origin with every POST (https://fetch.spec.whatwg.org, "append a request Origin header").
    """
    return request.method in ("GET", "HEAD") or request.headers.get("origin", "") == settings.public_url
