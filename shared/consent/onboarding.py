"""The onboarding link: a signed, expiring, single-use address for an administrator who has no account in the console.

The address holds a token that a key of its own signs (JSON web token, RFC 7519 and 8725, HS256). What it is worth is
judged by rows of the grant's partition: only the newest link of a grant counts, and the browser that used it first holds it. The
tables keep the link's id and the hash of that browser's cookie, never the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import jwt
from pydantic import SecretStr

from shared.consent.sealing import derive
from shared.consent.state import digest, same
from shared.domain import decide, schedule
from shared.domain.decision import Decision, with_events
from shared.domain.grant import Facts, Grant, Row
from shared.domain.problems import ProblemError, problem

LINK_LIFETIME = timedelta(hours=72)
"""How long an unused link opens: it waits in a mailbox, over a weekend at the most."""
HOLDER_LIFETIME = timedelta(hours=24)
"""How long the browser that used a link may go on: a role that must be approved first is there by then; a borrowed machine is not
left open for days."""
LINK_ROW = "onboarding"
"""The row of a grant's newest link: there is one at the most, so a newer link cuts off the older one and its holder."""

_PURPOSE = "grantline onboarding link v1"
_AUDIENCE = "grantline-onboarding"
_ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: for which grant it is, its own id, and until when it may be used (whole seconds)."""

    grant_id: str
    link_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """The newest link of a grant and the operator who sent it, as its row has it."""

    link: Link
    sent_by: str


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a link: the SHA-256 of the cookie of the browser that holds it since, and when that was."""

    browser: str
    at: datetime


class Standing(StrEnum):
    """What a link is worth to a browser. The values of refusals are codes of problems."""

    OPEN = "open"
    HELD = "held"
    REPLACED = "onboarding_replaced"
    USED = "onboarding_used"
    EXPIRED = "onboarding_expired"


def new_link(grant_id: str, link_id: str, now: datetime) -> Link:
    """Return a link that may be used from now on."""
    return Link(grant_id, link_id, now.replace(microsecond=0) + LINK_LIFETIME)


def sign(key: SecretStr, link: Link) -> str:
    """Return the token of a link; the same link has the same token. ``key`` is the sealing key, from which its own is derived."""
    claims = {"aud": _AUDIENCE, "sub": link.grant_id, "jti": link.link_id, "exp": int(link.expires_at.timestamp())}
    return jwt.encode(claims, derive(key, _PURPOSE), algorithm=_ALGORITHM)


def read(key: SecretStr, token: str) -> Link:
    """Return the link of a token that we signed. Raises ProblemError for any other text.

    The time is not looked at here: a link that has been used opens for its holder after it has expired for everybody else.
    """
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key=derive(key, _PURPOSE),
            algorithms=[_ALGORITHM],
            audience=_AUDIENCE,
            options={"require": ["aud", "sub", "jti", "exp"], "verify_exp": False},
        )
        return Link(claims["sub"], claims["jti"], datetime.fromtimestamp(claims["exp"], UTC))
    except (jwt.PyJWTError, TypeError):
        raise ProblemError(problem=problem("onboarding_unknown")) from None


def judge(link: Link, sent: Sent | None, use: Use | None, browser: str, now: datetime) -> Standing:
    """Return what a link is worth to a browser. ``sent`` is the grant's newest link, ``use`` the use of this one."""
    if sent is None or sent.link != link:
        return Standing.REPLACED
    if use is None:
        return Standing.OPEN if now < link.expires_at else Standing.EXPIRED
    if not browser or not same(use.browser, digest(browser)):
        return Standing.USED
    return Standing.HELD if now < use.at + HOLDER_LIFETIME else Standing.EXPIRED


def created(grant: Grant, sent: Sent, now: datetime, *, tenant_id: str, rows: tuple[Row, ...] = ()) -> Decision | None:
    """Return the grant with a new link, pinned to ``tenant_id`` ("": to none); None when it is another tenant's already."""
    pinned = decide.expect_tenant(grant, tenant_id) if tenant_id else grant
    if pinned is None:
        return None
    data = {
        "actor": sent.sent_by,
        "link_id": sent.link.link_id,
        "expires_at": schedule.stamp(sent.link.expires_at),
        "expected_tenant": pinned.intent.expected_tenant,
    }
    decision = Decision(pinned, rows=(to_row(sent), *rows))
    return with_events(decision, now, ("onboarding_link.created", None, data))


def used(grant: Grant, sent: Sent, browser: str, now: datetime) -> Decision:
    """Return the use of a link by a browser: the row that counts, and the event. Who holds it is not known by name yet."""
    row = Row(used_row(sent.link.link_id), {"browser": digest(browser), "at": schedule.stamp(now)})
    data = {"actor": "whoever opened the link", "sent_by": sent.sent_by, "link_id": sent.link.link_id}
    return with_events(Decision(grant, rows=(row,)), now, ("onboarding_link.used", None, data))


def used_row(link_id: str) -> str:
    """Return the row key of a link's use. The row is written once and never changed."""
    return f"link_used|{link_id}"


def to_row(sent: Sent) -> Row:
    """Return the row of a grant's newest link."""
    value = {"link_id": sent.link.link_id, "expires_at": schedule.stamp(sent.link.expires_at), "sent_by": sent.sent_by}
    return Row(LINK_ROW, value)


def sent_of(grant_id: str, value: Facts) -> Sent:
    """Return the link that a grant's row is about."""
    return Sent(Link(grant_id, value["link_id"], schedule.parse(value["expires_at"])), value["sent_by"])


def use_of(value: Mapping[str, Any]) -> Use:
    """Return the use that a row is about."""
    return Use(value["browser"], schedule.parse(value["at"]))
