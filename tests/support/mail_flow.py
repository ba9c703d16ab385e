"""Grants at every point of the mail flow's plan, pause and removal, with plans and findings that the real code has made."""

from dataclasses import replace
from typing import Any

from shared.domain.grant import ROUTING, ROUTING_OFF, ROUTING_OFF_AT, ROUTING_ON, Facts, Grant, Row, Step, Waiver
from shared.domain.problems import problem
from shared.domain.steps import STEPS, StepName, StepState
from shared.mailflow.checks.catalogue import judge, report
from shared.mailflow.checks.domains import MAIL_EXCHANGERS
from shared.mailflow.plan import make_plan
from shared.mailflow.tenant import TenantObjects
from tests.support.situations import LATER, NOW, Situation, a_grant, completed, done
from tests.unit.mailflow.requests import SETTINGS, request
from tests.unit.mailflow.tenants import tenant

AT = NOW.isoformat()
BEFORE = (StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT, StepName.DIRECTORY_CONSENT)
DISCLAIMER = {"Name": "Disclaimer <b>", "Mode": "Enforce", "ApplyHtmlDisclaimerText": "<p>x</p>", "FromScope": "InOrganization"}
ONLY_FROM_THE_GATEWAY = {
    "Name": "Only from the gateway",
    "Mode": "Enforce",
    "ExceptIfSenderIpRanges": ["203.0.113.0/24"],
    "DeleteMessage": True,
}
GATEWAY = {
    "Domain": "contoso.com",
    "Expected": ["contoso-com.mx.example"],
    "Found": ["mx.gateway.example"],
    "IsAnswered": True,
    "Error": "",
}
TENANT: dict[str, list[dict[str, Any]]] = {
    "HostedContentFilterPolicy": [{"Name": "Default", "Identity": "Default", "MarkAsSpamSpfRecordHardFail": "On"}],
    "OrganizationConfig": [{"Name": "contoso", "IsDehydrated": True, "RejectDirectSend": True, "AuditDisabled": True}],
}
ALLOWING = SETTINGS.model_copy(update={"allow_entries": "ip"})
"""App settings by which an entry of the tenant's own list is added, which a new organization must be made customizable for."""
MESSAGES = (("inbound", "normal"), ("outbound", "normal"), ("inbound", "forged_header"), ("inbound", "looped"))
RESIDUE = [
    {"application": name, "client_id": f"0000000{number}-0000-4000-8000-000000000000"}
    for number, name in enumerate(("mail_flow", "directory"))
]
LEFT = {
    "object": "Grantline Inline Inbound Routing Connector",
    "what": "used by Ours too: take it out of there, then remove it",
    "powershell": "Remove-OutboundConnector -Identity 'Grantline Inline Inbound Routing Connector' -Confirm:$false",
}


def _ordinary() -> TenantObjects:
    """Return a tenant with much to be told of, whose mail would be scanned as it must be."""
    return tenant(TransportRule=[DISCLAIMER], **TENANT, **{MAIL_EXCHANGERS: [GATEWAY]})


def _hostile() -> TenantObjects:
    """Return a tenant with a rule of its own that would delete scanned mail."""
    return tenant(TransportRule=[DISCLAIMER, ONLY_FROM_THE_GATEWAY], **TENANT, **{MAIL_EXCHANGERS: [GATEWAY]})


def findings_row() -> Row:
    """Return what the checks find in a tenant with findings of every severity, as preflight keeps it."""
    return Row("findings", {"checks": report(judge(request(), _hostile()))})


def plan_row(read: TenantObjects | None = None) -> Row:
    """Return the plan for a tenant, as the mail flow's step keeps it."""
    return Row("plan|0001", {**make_plan(request(settings=ALLOWING), read or _ordinary()).document(), "at": AT, "steps": []})


def checked() -> Situation:
    """Return a grant that a finding stops."""
    found = problem("setting_blocks")
    step = Step(StepName.PREFLIGHT, StepState.WAITING_FOR_PERSON, who=found.who, clock=LATER, problem=found)
    return Situation(a_grant(*done(*BEFORE), step), (findings_row(),))


def awaits_approval(code: str = "plan_irreversible", read: TenantObjects | None = None) -> Situation:
    """Return a grant whose plan waits for an operator."""
    row, found = plan_row(read), problem(code)
    facts = {"plan": row.value["digest"], "plan_number": 1}
    step = Step(StepName.MAIL_FLOW, StepState.WAITING_FOR_PERSON, who=found.who, clock=LATER, problem=found, facts=facts)
    return Situation(a_grant(*done(*BEFORE, StepName.PREFLIGHT), step), (row, findings_row()))


def unsafe() -> Situation:
    """Return a grant whose plan is not carried out, for it would lose mail."""
    return awaits_approval("plan_unsafe", _hostile())


def protecting() -> Situation:
    """Return a grant that test messages have proved."""
    situation = completed()
    proof = done(StepName.MAIL_PROOF, is_proved=True)[0]
    rows = (*situation.rows, proof_row(*["passed"] * len(MESSAGES)))
    return replace(situation, grant=_routed(situation.grant, ROUTING_ON).with_step(proof), rows=rows)


def proof_row(*results: str) -> Row:
    """Return a proof, as its step keeps it: one test message for each result, the first one each way's own."""
    probes = [
        {
            "probe_id": f"1-{place}",
            "direction": direction,
            "kind": kind,
            "domain": "contoso.com",
            "mail_from": "probe@relay.scanner.example.net",
            "recipient": "ada@contoso.com",
            "message_id": f"<1-{place}@relay.scanner.example.net>",
        }
        for place, (direction, kind) in enumerate(MESSAGES, 1)
    ]
    verdicts = [
        {**probe, "result": result, "words": f"It came to this: {result}.", "seconds": 12.5 if result == "passed" else None}
        for probe, result in zip(probes, results, strict=False)
    ]
    left_out = {"unproved": ["left-out.example.com"], "unproved_count": 2}
    times = {"sent_at": AT, "looked_at": AT}
    return Row("proof", {"version": 1, "number": 1, **times, **left_out, "probes": probes, "verdicts": verdicts})


def unproved() -> Situation:
    """Return a grant whose test messages have not shown what they must."""
    situation, found = completed(), problem("mail_not_proved")
    step = Step(StepName.MAIL_PROOF, StepState.NEEDS_ATTENTION, who=found.who, problem=found)
    grant = _routed(situation.grant, ROUTING_ON).with_step(step)
    return Situation(grant, (proof_row("passed", "failed"),))


def paused() -> Situation:
    """Return a grant whose routing is switched off for a while."""
    grant = _routed(completed().grant, ROUTING_OFF)
    return Situation(replace(grant, intent=replace(grant.intent, is_paused=True)))


def removing(state: StepState = StepState.WAITING, name: StepName = StepName.DRAIN, code: str = "") -> Situation:
    """Return a grant whose removal is at a step."""
    removal = [each for each, definition in STEPS.items() if definition.is_removal]
    found = problem(code) if code else None
    why = "Waiting until no message is under way."
    step = Step(name, state, why, found.who if found else None, LATER, gives_up_at=LATER, started_at=NOW, problem=found)
    grant = _ending(completed().grant)
    for each in (*done(*removal[: removal.index(name)]), step):
        grant = grant.with_step(each)
    return Situation(grant)


def leaves(*, is_shut_out: bool = False) -> Situation:
    """Return a grant whose removal can't take everything back."""
    code = "removal_shut_out" if is_shut_out else "removal_leaves"
    found = removing(StepState.WAITING_FOR_PERSON, StepName.MAIL_FLOW_REMOVAL, code)
    return replace(found, rows=(removal_row(is_clean=False, is_shut_out=is_shut_out, left=[LEFT]),))


def access_left() -> Situation:
    """Return a grant of which an administrator has the rest to take back, in Microsoft Entra."""
    situation = removing(StepState.WAITING_FOR_PERSON, StepName.ACCESS_REMOVAL, "access_remains")
    step = situation.grant.steps[StepName.ACCESS_REMOVAL]
    return Situation(situation.grant.with_step(replace(step, facts={"residue": RESIDUE})), (removal_row(),))


def removed() -> Situation:
    """Return a grant whose tenant is clean."""
    grant = _ending(completed().grant)
    for step in done(*(name for name, each in STEPS.items() if each.is_removal)):
        grant = grant.with_step(step)
    waived = replace(grant.intent, waived=(Waiver.SCANNER_QUEUE,))
    return Situation(replace(grant, released_at=NOW, intent=waived), (removal_row(),))


def removal_row(**changes: Any) -> Row:
    """Return the report of a removal, as its step keeps it."""
    report = {
        "version": 1,
        "is_clean": True,
        "left": [],
        "removed": ["Grantline Inline Inbound Return Connector", "Grantline Inline Inbound Domain Rule"],
        "restored": [{"object": "Default", "property": "MarkAsSpamSpfRecordHardFail", "former": "On", "written": "Off"}],
        "kept": [
            {"object": "Strict", "property": "MarkAsSpamSpfRecordHardFail", "former": "On", "written": "Off", "now": "Test"}
        ],
        "irreversible": [
            {"object": "contoso", "property": "IsDehydrated", "former": True, "cmdlet": "Enable-OrganizationCustomization"}
        ],
        "at": AT,
    }
    return Row("removal", {**report, **changes})


def _ending(grant: Grant) -> Grant:
    return replace(grant, intent=replace(grant.intent, is_removed=True))


def _routed(grant: Grant, how: str) -> Grant:
    step = grant.steps[StepName.POLICY_ACTIVATION]
    facts: Facts = {**step.facts, ROUTING: how, ROUTING_OFF_AT: AT if how == ROUTING_OFF else ""}
    return grant.with_step(replace(step, facts=facts))


SITUATIONS = {
    "checked": checked,
    "awaits approval": awaits_approval,
    "unsafe": unsafe,
    "protecting": protecting,
    "unproved": unproved,
    "paused": paused,
    "draining": removing,
    "leaves": leaves,
    "shut out": lambda: leaves(is_shut_out=True),
    "access left": access_left,
    "removed": removed,
}
"""Every situation, by what is told of it."""
