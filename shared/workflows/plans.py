"""The plan of a grant's mail flow: made from what was read, kept in a row, carried out once it may be.

A plan counts for the changes that it lists. What is left of it after a crash, or after somebody has done a part by hand, is still
that plan; a change that it does not list makes another one, with a number and an approval of its own.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from shared.domain import schedule
from shared.domain.grant import Facts, Row
from shared.domain.problems import Problem, problem
from shared.mailflow.diff import Change
from shared.mailflow.plan import make_plan
from shared.workflows.run import Run
from shared.workflows.tenant import View

PLAN_ROWS = "plan|"
"""How the keys of the rows of plans begin; the last one is the newest."""
APPLIED_AT = "applied_at"
"""When a plan was seen to be carried out: whatever differs later makes another one."""
FRESH = timedelta(minutes=10)
"""How long what a plan says of messages is believed: rules of others may change while it waits for its approval."""
PLAN, PLAN_NUMBER = "plan", "plan_number"
"""The facts of the step that tell which plan it is at: its digest and its number."""


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan as its row has it: the document for people and programs, and the digests of its changes as ``steps``."""

    number: int
    document: Facts

    @property
    def row(self) -> Row:
        """The row that keeps it."""
        return Row(f"{PLAN_ROWS}{self.number:04}", self.document)

    @property
    def digest(self) -> str:
        """What an approval names it by."""
        return str(self.document["digest"])

    @property
    def facts(self) -> Facts:
        """What its step leaves behind of it."""
        return {PLAN: self.digest, PLAN_NUMBER: self.number}

    def covers(self, pending: Sequence[Change]) -> bool:
        """True when these changes are what is left of it."""
        return APPLIED_AT not in self.document and set(map(change_digest, pending)) <= set(self.document["steps"])


async def plan_for(run: Run, view: View) -> KeptPlan:
    """Return the plan that the view's changes belong to, kept before anything is done: the newest one, or one that is new."""
    newest = await newest_plan(run)
    number, kept = newest.number + 1 if newest else 1, {}
    if newest and newest.covers(view.changes):
        if run.clock() < schedule.parse(str(newest.document["at"])) + FRESH:
            return newest
        number, kept = newest.number, {name: newest.document[name] for name in ("digest", "steps")}
    document = await asyncio.to_thread(_document, view)  # the route model works for a while
    named = {"digest": _numbered(number, str(document["digest"]))}
    plan = KeptPlan(number, {**document, **named, **kept, "at": schedule.stamp(run.clock())})
    await run.clients.rows.put(plan.row)
    return plan


async def newest_plan(run: Run) -> KeptPlan | None:
    """Return the plan that was made last; None before the first."""
    rows = await run.clients.rows.rows(PLAN_ROWS)
    return KeptPlan(int(rows[-1].key.removeprefix(PLAN_ROWS)), rows[-1].value) if rows else None


def applied(run: Run, plan: KeptPlan | None) -> tuple[Row, ...]:
    """Return the row of a plan that was carried out now, if it is news."""
    if plan is None or APPLIED_AT in plan.document:
        return ()
    return (KeptPlan(plan.number, {**plan.document, APPLIED_AT: schedule.stamp(run.clock())}).row,)


def what_holds_up(run: Run, plan: KeptPlan) -> Problem | None:
    """Return why a plan is not carried out yet: it would harm, or a person has to allow it first; None when it may begin."""
    intent, document = run.grant.intent, plan.document
    is_approved = intent.approved_plan == plan.digest
    if not document["is_safe"]:
        return problem("plan_unsafe", raw=_harm(document))
    if document["irreversible"] and not (is_approved and intent.accepts_irreversible):
        return problem("plan_irreversible", raw="; ".join(map(str, document["irreversible"])))
    if run.settings.plan_approval == "operator" and not is_approved:
        return problem("plan_awaits_approval", raw=f"plan {plan.number}: {plan.digest}")
    return None


def change_digest(change: Change) -> str:
    """Return what tells one change from another: its cmdlet, what it is done to, and every parameter but secrets."""
    content = json.dumps([change.object.name, change.result], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _numbered(number: int, digest: str) -> str:
    """Return the name of one plan: a later one for the same changes has another, so that no approval counts twice."""
    return hashlib.sha256(f"{number}:{digest}".encode()).hexdigest()


def _harm(document: Facts) -> str:
    return "; ".join(finding["what"] for finding in document["findings"])


def _document(view: View) -> dict[str, Any]:
    """Return a plan as JSON values, with the digests of its changes."""
    plan = make_plan(view.request, view.tenant)
    return {**plan.document(), "steps": [change_digest(change) for change in plan.changes]}
