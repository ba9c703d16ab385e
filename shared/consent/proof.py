"""The proof: what an id_token must show before its tenant is believed.

Checks of https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference and RFC 9700 4.4: signature by a key of
Microsoft's, algorithm RS256 only, audience, issuer of the token's own tenant, times, nonce. Then who signed in: an administrator
whose role Microsoft names in ``wids`` (no ``wids`` is "not proved", never "not an administrator").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt

from shared.consent.state import RedirectError
from shared.domain.problems import problem
from shared.domain.steps import StepName

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
PRIVILEGED_ROLE_ADMINISTRATOR = "e8611ab8-c189-46e8-94e1-60213ab1f814"
PERSONAL_ACCOUNTS_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
LEEWAY_SECONDS = 300
"""How far Microsoft's clock and ours may differ."""

ADMINISTRATORS = frozenset({GLOBAL_ADMINISTRATOR, PRIVILEGED_ROLE_ADMINISTRATOR})
"""Who may consent to application permissions of Microsoft Graph and assign directory roles."""
ACCEPTED: Mapping[StepName, frozenset[str]] = {
    StepName.MAIL_FLOW_CONSENT: ADMINISTRATORS,
    StepName.DIRECTORY_CONSENT: ADMINISTRATORS,
    StepName.ROLE_ASSIGNMENT: ADMINISTRATORS,
    StepName.ACTIVITY_CONSENT: ADMINISTRATORS,
}
"""The directory roles, by template id, whose holders may do a person's step."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Who signed in, and of which tenant: believed, because Microsoft signed it for this sign-in."""

    tenant_id: str
    user_id: str
    user_name: str
    roles: frozenset[str]


def key_id(id_token: str) -> str:
    """Return which key a token says it is signed with. Raises RedirectError for what is no token, or signed by no key."""
    try:
        header = jwt.get_unverified_header(id_token)
    except jwt.PyJWTError:
        raise _not_proved("the id_token can't be read") from None
    if header.get("alg") != "RS256":
        raise _not_proved("the id_token is not signed with RS256")
    return str(header.get("kid", ""))


def prove(id_token: str, *, key: Any, client_id: str, issuer: str, nonce: str, now: datetime) -> Proof:
    """Return who signed in. ``issuer`` holds ``{tenantid}`` where the token's own tenant id belongs.

    Raises RedirectError for a token that Microsoft did not sign for this application and this sign-in, now.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            id_token,
            key=key,
            algorithms=["RS256"],
            audience=client_id,
            # The times are checked below, against the injected clock.
            options={
                "require": ["exp", "iat", "aud", "iss", "tid", "oid", "nonce"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.PyJWTError as error:
        raise _not_proved(f"the id_token is refused: {type(error).__name__}") from None
    tenant_id = str(claims["tid"]).lower()
    if claims["iss"] != issuer.replace("{tenantid}", tenant_id):
        raise _not_proved("the id_token is of another issuer")
    if claims["nonce"] != nonce:
        raise _not_proved("the id_token is of another sign-in")
    _check_times(claims, now)
    roles = frozenset(map(str, claims.get("wids") or ()))
    return Proof(tenant_id, str(claims["oid"]), str(claims.get("preferred_username", "")), roles)


def require_administrator(proof: Proof, step: StepName, pinned_tenant: str) -> None:
    """Raise RedirectError unless an administrator of the grant's tenant, with a role that the step accepts, signed in."""
    if proof.tenant_id == PERSONAL_ACCOUNTS_TENANT:
        raise RedirectError(problem=problem("personal_account"))
    if pinned_tenant and proof.tenant_id != pinned_tenant:
        raise RedirectError(problem=problem("tenant_differs"))
    if not proof.roles & ACCEPTED[step]:
        raise RedirectError(problem=problem("not_administrator"))


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    moment = now.timestamp()
    if moment > float(claims["exp"]) + LEEWAY_SECONDS:
        raise _not_proved("the id_token has expired")
    if moment < float(claims.get("nbf", claims["iat"])) - LEEWAY_SECONDS:
        raise _not_proved("the id_token is not valid yet")


def _not_proved(raw: str) -> RedirectError:
    return RedirectError(problem=problem("sign_in_not_proved", raw=raw))
