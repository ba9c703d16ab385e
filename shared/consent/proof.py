"""The proof: what an id_token must show before its tenant is believed.

Checks of https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference and RFC 9700 4.4: signature by a key of
Microsoft's, algorithm RS256 only, audience, issuer of the token's own tenant, times, nonce. Then who signed in: an administrator
whose role Microsoft names in ``wids`` (no ``wids`` is "not proved", never "not an administrator"). Which roles may do which step,
and what everybody else is told, are tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from shared.consent.state import RedirectError
from shared.domain.grant import RoleMode
from shared.domain.problems import problem
from shared.domain.steps import StepName

GLOBAL_ADMINISTRATOR = "62e90394-69f5-4237-9190-012177145e10"
PRIVILEGED_ROLE_ADMINISTRATOR = "e8611ab8-c189-46e8-94e1-60213ab1f814"
APPLICATION_ADMINISTRATOR = "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"
CLOUD_APPLICATION_ADMINISTRATOR = "158c047a-c907-4556-b7ef-446551a6b5f7"
GUEST = "10dae51f-b6af-4016-8d66-8c2a99b929b3"
"""Role template ids (https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference); every guest's
tokens carry the last one, as every member's carry that of the default user role."""
PERSONAL_ACCOUNTS_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"
LEEWAY_SECONDS = 300
"""How far Microsoft's clock and ours may differ."""

ADMINISTRATORS = frozenset({GLOBAL_ADMINISTRATOR, PRIVILEGED_ROLE_ADMINISTRATOR})
"""Who may consent to application permissions of Microsoft Graph, assign directory roles, and give a tenant back."""
APPLICATION_ADMINISTRATORS = frozenset({APPLICATION_ADMINISTRATOR, CLOUD_APPLICATION_ADMINISTRATOR})
"""Who may consent to everything but application permissions of Microsoft Graph."""
ASSIGNED_ELSEWHERE = frozenset({RoleMode.BY_HAND, RoleMode.ROLE_GROUP})
"""The ways to the role on which somebody else may have the last word: the consent alone is asked of who signs in."""
REFUSALS: tuple[tuple[frozenset[str], str], ...] = (
    (APPLICATION_ADMINISTRATORS, "role_may_not_consent"),
    (frozenset({GUEST}), "guest_account"),
)
"""What somebody with one of these roles and no accepted one is told; the first that fits."""


def accepted(step: StepName, role_mode: RoleMode) -> frozenset[str]:
    """Return the directory roles, by template id, whose holders may do a person's step on a way to the role."""
    if step is StepName.MAIL_FLOW_CONSENT and role_mode in ASSIGNED_ELSEWHERE:
        return ADMINISTRATORS | APPLICATION_ADMINISTRATORS
    return ADMINISTRATORS


@dataclass(frozen=True, slots=True)
class Proof:
    """Who signed in, and of which tenant: believed, because Microsoft signed it for this sign-in.

    ``signed_in_at`` is when the person last typed or showed a credential, where Microsoft says so (the optional claim
    ``auth_time``).
    """

    tenant_id: str
    user_id: str
    user_name: str
    roles: frozenset[str]
    signed_in_at: datetime | None = None


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
    auth_time = claims.get("auth_time")
    signed_in_at = datetime.fromtimestamp(float(auth_time), UTC) if isinstance(auth_time, int | float) else None
    return Proof(tenant_id, str(claims["oid"]), str(claims.get("preferred_username", "")), roles, signed_in_at)


def require_administrator(proof: Proof, roles: frozenset[str], pinned_tenant: str) -> None:
    """Raise RedirectError unless an administrator of the grant's tenant, with one of the accepted ``roles``, signed in."""
    if proof.tenant_id == PERSONAL_ACCOUNTS_TENANT:
        raise RedirectError(problem=problem("personal_account"))
    if pinned_tenant and proof.tenant_id != pinned_tenant:
        raise RedirectError(problem=problem("tenant_differs"))
    if not proof.roles:
        raise RedirectError(problem=problem("administrator_not_proved"))
    if not proof.roles & roles:
        code = next((code for held, code in REFUSALS if proof.roles & held), "not_administrator")
        raise RedirectError(problem=problem(code))


def require_fresh(proof: Proof, since: datetime) -> None:
    """Raise RedirectError where Microsoft says that the person signed in before ``since``.

    Microsoft gives ``auth_time`` to registrations that list it as an optional claim, as ours do
    (https://learn.microsoft.com/entra/identity-platform/optional-claims-reference); without it, that ``prompt=login`` was asked
    for is all there is.
    """
    if proof.signed_in_at and proof.signed_in_at < since - timedelta(seconds=LEEWAY_SECONDS):
        raise RedirectError(problem=problem("sign_in_again", raw="the account was signed in already; this takes a new sign-in"))


def check_access_token(token: str, who: Proof, *, client_id: str, audiences: frozenset[str]) -> None:
    """Raise RedirectError for an access token that is not the one of this sign-in: other tenant, person, client or audience.

    Microsoft's tokens are opaque to clients by contract, and nobody is let in here by one: what can't be read, or says nothing
    of these, is left to the service that it is for (https://learn.microsoft.com/entra/identity-platform/access-tokens).
    """
    try:
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    except jwt.PyJWTError:
        return
    says = {name: str(claims[name]).lower() for name in ("tid", "oid", "appid", "azp", "aud") if name in claims}
    expected = {"tid": {who.tenant_id}, "oid": {who.user_id.lower()}, "appid": {client_id}, "azp": {client_id}, "aud": audiences}
    wrong = [name for name, value in says.items() if value not in expected[name]]
    if wrong:
        raise _not_proved(f"the access token is not of this sign-in: {', '.join(wrong)}")


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    moment = now.timestamp()
    if moment > float(claims["exp"]) + LEEWAY_SECONDS:
        raise _not_proved("the id_token has expired")
    if moment < float(claims.get("nbf", claims["iat"])) - LEEWAY_SECONDS:
        raise _not_proved("the id_token is not valid yet")


def _not_proved(raw: str) -> RedirectError:
    return RedirectError(problem=problem("sign_in_not_proved", raw=raw))
