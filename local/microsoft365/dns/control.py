"""The part of the control interface that is about DNS: see, change and disturb it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, TypeVar

import dns.exception
from aiohttp import web
from pydantic import TypeAdapter

from local.microsoft365.dns.records import DnsFault, DnsRecords, Records
from local.microsoft365.dns.server import rrset

Body = TypeVar("Body")
_RECORDS = TypeAdapter(Records)
_FAULT = TypeAdapter(DnsFault)


class DnsControl:
    """Answers control requests about DNS. Each method raises ValueError when its request makes no sense."""

    def __init__(self, records: DnsRecords) -> None:
        self._records = records

    def table(self) -> tuple[tuple[str, str, Callable[[web.Request], Awaitable[dict[str, Any]]]], ...]:
        """Methods, paths and handlers."""
        return (
            ("GET", "dns", self.show),
            ("POST", "dns", self.put),
            ("DELETE", "dns", self.clear),
            ("POST", "dns/faults", self.add_fault),
        )

    async def show(self, _: web.Request) -> dict[str, Any]:
        """GET dns: what is published, the faults that wait, and what was asked."""
        return {
            "records": [asdict(each) for each in self._records.all()],
            "faults": [asdict(each) for each in self._records.faults],
            "questions": [
                {"name": name, "type": kind, "transport": transport} for name, kind, transport in self._records.questions
            ],
        }

    async def put(self, request: web.Request) -> dict[str, Any]:
        """POST dns: publish records in the place of those of the same name and type; no values: none."""
        records = await _read(request, _RECORDS)
        try:
            if records.values:
                rrset(records)
        except dns.exception.DNSException as error:
            raise ValueError(f"values: {error}") from error
        self._records.put(records)
        return asdict(records)

    async def clear(self, _: web.Request) -> dict[str, Any]:
        """DELETE dns: everything as at first; what was asked is forgotten."""
        self._records.clear()
        return {}

    async def add_fault(self, request: web.Request) -> dict[str, Any]:
        """POST dns/faults: let one wait for its questions."""
        fault = await _read(request, _FAULT)
        if fault.times < 1:
            raise ValueError("times: one or more")
        self._records.faults.append(fault)
        return asdict(fault)


async def _read(request: web.Request, adapter: TypeAdapter[Body]) -> Body:
    return adapter.validate_json(await request.read(), extra="forbid")
