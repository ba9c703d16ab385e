"""Evaluates a trace: one document is one message in one situation (format: docs/mail-traces.md, version 1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.journey import Journey
from local.microsoft365.mail.model import Addressee, Copy, Record, Switches


def outcome(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what becomes of a trace's message: `recipients` (end, scans, status by final address) and `rules` (counts).

    Where the tenant's policies have a JournalRule that fits, `journal` has the number of reports by address.
    Raises ValueError for a trace of another version, with an unknown switch or tenant.
    """
    record = carry(document)
    journaled = {"journal": record.journaled} if record.journaled else {}
    return {"recipients": record.recipients, "rules": record.rules, **journaled}


def carry(document: Mapping[str, Any]) -> Record:
    """Carry a trace's message until every copy of it has ended. Raises ValueError as `outcome` does."""
    if document.get("version", 1) != 1:
        raise ValueError(f"version {document['version']}: only 1 is known")
    tenants = [TenantMail(tenant) for tenant in document.get("tenants") or ()]
    journey = Journey(tenants, document.get("scanners") or (), Switches.read(document.get("uncertain") or {}))
    message = document["message"]
    copy = read_message(message)
    home = str(message.get("from_tenant") or "")
    sender = journey.tenant_of(copy.mail_from) if message.get("authenticated") else None
    if home:
        journey.submit(journey.tenant(home), copy)
    elif sender is not None:
        journey.submit(sender, copy)
    else:
        journey.receive(copy)
    return journey.record


def read_message(message: Mapping[str, Any]) -> Copy:
    """Return a trace's message as the first copy of it; what it leaves out is as in ordinary mail."""
    to = tuple(str(address).lower() for address in message["recipients"])
    return Copy(
        mail_from=str(message.get("mail_from") or "").lower(),
        header_from=str(message.get("header_from") or "").lower(),
        to=to,
        recipients=[Addressee(address, address) for address in to],
        headers={str(name).lower(): [str(value)] for name, value in (message.get("headers") or {}).items()},
        kind=message.get("kind") or "normal",
        subject=message.get("subject") or "",
        body=message.get("body") or "",
        size_kb=message.get("size_kb", 10),
        spf=message.get("spf") or "none",
        dkim=message.get("dkim") or "none",
        dmarc_policy=message.get("dmarc_policy") or "none",
        verdict=message.get("verdict") or "none",
        own_spf=message.get("spf") or "none",
        own_dkim=message.get("dkim") or "none",
        own_ip=message.get("source_ip") or "",
        source_ip=message.get("source_ip") or "",
        passes=int(message.get("hops") or 0),
        certificate=str(message.get("certificate") or "").lower(),
    )
