"""Rotation with overlap: while Microsoft does not know an application's newest credential, the former one is used.

So a new credential may be set before it is registered, and registered before it is set; neither order stops any work
(docs/operations.md, "Rotating"). A request that is refused for its credential has done nothing: the client is authenticated
before a code is looked at (RFC 6749, 4.1.3; docs/adr/0013-credentials-overlap.md says what is not certain about that).
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from pydantic import SecretStr

from shared.certificates import Certificate
from shared.ports import RefusedError, UsedCredential
from shared.settings import ClientCredential, ManagedIdentity

LOG = logging.getLogger(__name__)

UNKNOWN_CREDENTIAL = frozenset({"credential_expired", "our_registration"})
"""Problems that may mean that Microsoft does not know a credential (yet, or any more)."""
NOTICE = timedelta(days=30)
"""How long before the end of a certificate operators are told."""

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Rotation:
    """What one application proves itself with, the newest first; never empty."""

    application: str
    credentials: tuple[ClientCredential, ...]

    async def first_known(self, attempt: Callable[[ClientCredential], Awaitable[AnswerT]]) -> AnswerT:
        """Return the answer of the first ``attempt`` whose credential Microsoft knows.

        When it knows none, raises what the newest one is refused with; all else that an attempt raises is raised at once.
        """
        refusals: list[RefusedError] = []
        for credential in self.credentials:
            try:
                answer = await attempt(credential)
            except RefusedError as error:
                if error.problem.code not in UNKNOWN_CREDENTIAL:
                    raise
                refusals.append(error)
            else:
                self._tell(credential)
                return answer
        raise refusals[0]

    def described(self, used: ClientCredential) -> UsedCredential:
        """Return what can be told of one of the credentials."""
        is_former = used is not self.credentials[0]
        match used:
            case Certificate():
                return UsedCredential("certificate", used.thumbprint, used.ends_at, is_former)
            case ManagedIdentity():
                return UsedCredential("managed identity", used.client_id, None, is_former)
            case SecretStr():
                return UsedCredential("client secret", "", None, is_former)

    def _tell(self, used: ClientCredential) -> None:
        now = datetime.now(UTC)
        notice = notice_of(self.application, self.described(used), now)
        if notice:
            _log(notice, now.date())


def notice_of(application: str, used: UsedCredential, now: datetime) -> str:
    """Return what operators should know about the credential that Microsoft has taken; "" when there is nothing to do."""
    named = f"credential of {application}: {used.kind} {used.name}".rstrip()
    if used.is_former:
        return f"{named} is the former one; Microsoft does not know the newer one"
    if used.ends_at and used.ends_at - now <= NOTICE:
        return f"{named} ends on {used.ends_at:%Y-%m-%d}; rotate it before"
    return ""


@lru_cache(maxsize=64)
def _log(notice: str, _day: date) -> None:
    """Log a notice, once a day in each process: a token is asked for with every run."""
    LOG.warning("%s", notice)
