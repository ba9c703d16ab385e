"""Faults that tests inject: late, failing, stale and missing answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Tampering:
    """One change behind everybody's back: of properties of the object `identity` of a noun, its removal, or a new object."""

    noun: str
    """user, group, domain, servicePrincipal, roleAssignment, roleEligibility, appRoleAssignment, oauth2PermissionGrant, or a
    cmdlet noun."""
    identity: str = ""
    """An id or a name; for assignments and grants also the id or application id of their principal."""
    change: Mapping[str, Any] | None = None
    """Properties by Graph's (or Exchange's) names."""
    add: Mapping[str, Any] | None = None
    """Properties of a new object of Exchange, its Name among them; what is left out is as Exchange has it by default."""
    remove: bool = False
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests a fault meets; what is None matches all."""

    method: str | None = None
    path: str | None = None
    """A regular expression, searched in the path and query."""
    cmdlet: str | None = None

    def meets(self, method: str, path: str, cmdlet: str | None) -> bool:
        """Whether a request is one of those."""
        return (
            (self.method is None or self.method.upper() == method)
            and (self.path is None or re.search(self.path, path) is not None)
            and (self.cmdlet is None or self.cmdlet.lower() == (cmdlet or "").lower())
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to the next `times` requests that match. Without a status, a drop or a body the request is served."""

    match: Match = Match()
    times: int = 1
    skip: int = 0
    """So many requests that match pass first."""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Sent as JSON; None: the body that the API documents for the status."""
    drop: bool = False
    """The connection is closed without an answer; the request itself is carried out where `after` is set."""
    after: bool = False
    """The fault comes after the request was carried out: its effect stays, its answer is lost."""
    edit: Tampering | None = None
    """Somebody changes the tenant right before the request is carried out, or right after it where `after` is set."""
    latency_ms: int = 0
    aadsts: int | None = None
    """The identity platform refuses with this number, in the form of the endpoint: body, redirect or page."""
    stale: float | None = None
    """A read is answered as the tenant was this many seconds ago."""


@dataclass(slots=True)
class Faults:
    """The faults that are waiting for their requests."""

    pending: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Let `fault` wait for its requests."""
        self.pending.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self.pending.clear()

    def take(self, method: str, path: str, cmdlet: str | None) -> Fault | None:
        """The first fault that meets this request and lets no more pass, used once; the others count it."""
        met = [position for position, fault in enumerate(self.pending) if fault.match.meets(method, path, cmdlet)]
        due = next((position for position in met if self.pending[position].skip == 0), None)
        for position in met:
            waiting = self.pending[position]
            self.pending[position] = replace(waiting, skip=max(0, waiting.skip - 1))
        if due is not None:
            fault = self.pending[due]
            self._use(due, fault)
            return fault
        return None

    def _use(self, position: int, fault: Fault) -> None:
        if fault.times > 1:
            self.pending[position] = replace(fault, times=fault.times - 1)
        else:
            del self.pending[position]
