"""What people and programs are shown of a grant's mail flow: findings, plan, routing, removal. Plain JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain.grant import ROUTING, ROUTING_OFF, ROUTING_OFF_AT, Facts, Grant, GrantState, Row
from shared.domain.steps import StepName
from shared.workflows.plans import APPLIED_AT, PLAN_ROWS

View = dict[str, Any]
GROUPS = ("creates", "updates", "deletes", "settings")
"""How a plan groups its changes: objects of ours that are made, changed, removed; settings of others that are touched."""
ASKING = frozenset({"plan_awaits_approval", "plan_irreversible"})
"""The problems of the mail flow's step that an approval of its plan solves."""
ORDER = ("blocking", "acknowledge", "notice", "not_checked")
"""The severities of findings, the gravest first."""


OPEN = {"result": "open", "words": "Nothing is known yet.", "seconds": None}
"""What is told of a test message that nobody has looked for yet."""
MESSAGE = ("probe_id", "direction", "kind", "domain", "mail_from", "recipient", "message_id", *OPEN)


def routing_view(grant: Grant) -> View:
    """Return how the routing rules were read back last: on, off and since when, or not at all yet; and whether they may be on."""
    activation, removal = grant.steps[StepName.POLICY_ACTIVATION].facts, grant.steps[StepName.ROUTING_REMOVAL].facts
    facts = removal if ROUTING in removal else activation
    is_off = facts.get(ROUTING) == ROUTING_OFF
    return {
        "is_paused": grant.intent.is_paused,
        "state": facts.get(ROUTING, ""),
        "off_since": (facts.get(ROUTING_OFF_AT) or None) if is_off else None,
    }


def awaits_approval(grant: Grant) -> bool:
    """Tell whether a grant stands still until an operator approves its plan."""
    found = grant.steps[StepName.MAIL_FLOW].problem
    return found is not None and found.code in ASKING


def plan_view(grant: Grant, rows: Sequence[Row]) -> View:
    """Return the newest of a grant's plans with how it stands: whether it is approved, carried out, or waits for somebody."""
    number, document = (int(rows[-1].key.removeprefix(PLAN_ROWS)), rows[-1].value) if rows else (None, dict[str, Any]())
    is_approved = bool(document) and grant.intent.approved_plan == document["digest"]
    routes = document.get("routes", ())
    return {
        "number": number,
        "digest": document.get("digest", ""),
        "made_at": document.get("at"),
        "applied_at": document.get(APPLIED_AT),
        "is_safe": bool(document.get("is_safe")),
        "is_approved": is_approved,
        "accepts_irreversible": is_approved and grant.intent.accepts_irreversible,
        "awaits_approval": awaits_approval(grant) and APPLIED_AT not in document,
        **{name: [_change(each) for each in document.get(name, ())] for name in GROUPS},
        "rules_run_twice": list(document.get("rules_run_twice", ())),
        "rules_never_run": list(document.get("rules_never_run", ())),
        "not_scanned": list(document.get("not_scanned", ())),
        "irreversible": list(document.get("irreversible", ())),
        "routes": [{"domains": [], "more_domains": 0, **each} for each in routes],
        "findings": list(document.get("findings", ())),
        "open_questions": [
            {"condition": each["if"], "harm": each["then"], "samples": each["samples"]}
            for each in document.get("open_questions", ())
        ],
        "baselines": list(document.get("baselines", ())),
    }


def _change(change: Mapping[str, Any]) -> View:
    return {name: change[name] for name in ("step", "object", "purpose", "cmdlet", "parameters", "former")}


def findings_view(grant: Grant, report: Facts) -> View:
    """Return the findings, the gravest first, each with an operator's answer to it, and what else was checked."""
    checks = report.get("checks", ())
    found = [
        {**finding, "check": check["check"], "answer": _answer(grant, finding)}
        for check in checks
        for finding in check["findings"]
    ]
    return {
        "findings": sorted(found, key=lambda each: ORDER.index(each["severity"])),
        "passed": [check["title"] for check in checks if check["result"] == "passed"],
    }


def _answer(grant: Grant, finding: Mapping[str, Any]) -> str:
    key = finding["key"]
    return "fix_asked" if key in grant.intent.fixes else "acknowledged" if key in grant.intent.acknowledged else ""


def removal_view(grant: Grant, report: Facts) -> View:
    """Return a removal: whether it is asked for and has ended, what an operator has it not wait for, and its report."""
    return {
        "is_asked": grant.intent.is_removed,
        "is_over": grant.state is GrantState.REMOVED,
        "waived": list(grant.intent.waived),
        "reported_at": report.get("at"),
        "is_clean": bool(report.get("is_clean")),
        "is_shut_out": bool(report.get("is_shut_out")),
        "left": list(report.get("left", ())),
        "removed": list(report.get("removed", ())),
        "restored": list(report.get("restored", ())),
        "kept": list(report.get("kept", ())),
        "irreversible": list(report.get("irreversible", ())),
    }


def proof_view(grant: Grant, proof: Facts) -> View:
    """Return the last proof by test messages: what each was to show, and what became of it; one that is under way is open."""
    verdicts = {each["probe_id"]: each for each in proof.get("verdicts", ())}
    ordered = [{**OPEN, **each} for each in proof.get("probes", ())]
    return {
        "is_proved": grant.is_proved,
        "number": proof.get("number"),
        "sent_at": proof.get("sent_at") or None,
        "looked_at": proof.get("looked_at"),
        "unproved": list(proof.get("unproved", ())),
        "unproved_count": proof.get("unproved_count", 0),
        "messages": [{name: verdicts.get(each["probe_id"], each)[name] for name in MESSAGE} for each in ordered],
    }
