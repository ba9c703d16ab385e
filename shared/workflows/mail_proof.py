"""Mail proof: test messages show that mail is scanned, once, each way and for each domain.

They are ordered of the product, which sends and receives them; what became of each is read from message trace and from what the
scanner reports. A rule takes up to an hour to reach every server of Exchange Online: what fails before is tried once more.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from shared.domain import schedule
from shared.domain.grant import IS_PROVED, Direction, Facts, Row, ScopeKind
from shared.domain.intents import probe_row
from shared.domain.outcomes import Done, Failed, Outcome, Wait
from shared.domain.probes import Probe, ProbeKind
from shared.domain.problems import problem
from shared.domain.steps import StepName
from shared.mailflow.desired import Request, Routing, scoped_domains
from shared.mailflow.drain import RULES_SETTLE
from shared.mailflow.kinds import GET_MEMBERS
from shared.mailflow.proof import Evidence, Result, Verdict, judge, probes
from shared.ports import Exchange
from shared.workflows.run import Run, told
from shared.workflows.tenant import look, request_of
from shared.workflows.traces import traced

PROOF_ROW = "proof"
"""The row of the last proof: its test messages, with what each has come to."""
FIRST_LOOK, LONGEST = timedelta(seconds=10), timedelta(minutes=2)
PATIENCE = timedelta(minutes=30)
"""How long message trace and the scanner may take to tell of a test message."""
AGAIN_AFTER = timedelta(minutes=20)
"""How long after a proof that failed another one is made, while rules may still be on their way."""
SETTLED = RULES_SETTLE + timedelta(minutes=5)
"""After how long a failure counts."""


async def mail_proof(run: Run) -> Outcome:
    """Order test messages, wait for what becomes of them, and tell what they prove."""
    if run.settings.mail_proof == "off":
        return Done(facts={IS_PROVED: False, "is_off": True})
    exchange = run.clients.microsoft.exchange(run.grant.tenant_id)
    proof = await run.clients.rows.row(PROOF_ROW) or {}
    if proof.get("asked_at") != _asked_at(run) or not proof["sent_at"]:
        view = await look(run, exchange, Routing.KEPT)
        return await _order(run, exchange, view.request, proof)
    request = await request_of(run, Routing.KEPT)
    return _outcome(run, proof, [judge(each, request) for each in await _evidence(run, exchange, proof)])


async def _order(run: Run, exchange: Exchange, request: Request, last: Facts) -> Outcome:
    """Order one message after the other. A crash in between orders others: no message is ever sent twice."""
    number = int(last.get("number", 0)) + 1
    wanted = probes(request, f"{number}", await _mailboxes(run, exchange, request))
    if not wanted:
        return Failed(problem=problem("no_test_mailbox"))
    messages = [asdict(each) for each in wanted]
    proof = {"version": 1, "asked_at": _asked_at(run), "number": number, "sent_at": "", "probes": messages}
    await run.clients.rows.put(Row(PROOF_ROW, proof))
    for probe in wanted:
        await run.clients.probes.order(run.grant, probe)
    sent = Row(PROOF_ROW, {**proof, "sent_at": schedule.stamp(run.clock())})
    return _wait(run, FIRST_LOOK, f"{len(wanted)} test messages are on their way", rows=(sent,))


async def _mailboxes(run: Run, exchange: Exchange, request: Request) -> dict[str, str]:
    """Return a mailbox in scope for each domain: the first one by its address, so that the same gets the messages each time."""
    if request.intent.scope.kind is ScopeKind.GROUP:
        members = await exchange.invoke(GET_MEMBERS, {"Identity": request.intent.scope.group, "ResultSize": "Unlimited"})
        addresses = [str(each.get("PrimarySmtpAddress") or "") for each in members]
    else:
        page = await run.clients.microsoft.directory(run.grant.tenant_id).users()
        addresses = [user.mail for user in page.items if user.enabled]
    found: dict[str, str] = {}
    for address in sorted(address.lower() for address in addresses if address):
        found.setdefault(address.rpartition("@")[2], address)
    return {domain: found[domain] for domain in scoped_domains(request) if domain in found}


async def _evidence(run: Run, exchange: Exchange, proof: Facts) -> list[Evidence]:
    """Read what is known of each message: message trace in one query, the scanner's reports from their rows."""
    wanted = [_probe(each) for each in proof["probes"]]
    begun = schedule.parse(str(proof["sent_at"])) - PATIENCE
    ids = [probe.message_id for probe in wanted]
    found = await traced(exchange, MessageId=ids, StartDate=begun, EndDate=run.clock() + PATIENCE)
    rows = await run.clients.rows.rows(probe_row(""))
    reports = {row.key: row.value for row in rows}
    return [
        Evidence(
            probe,
            [each for each in found if str(each["MessageId"]).casefold() == probe.message_id.casefold()],
            reports.get(probe_row(probe.probe_id)),
        )
        for probe in wanted
    ]


def _outcome(run: Run, proof: Facts, verdicts: list[Verdict]) -> Outcome:
    """Tell what all messages together prove."""
    now, sent_at = run.clock(), schedule.parse(str(proof["sent_at"]))
    results = {each.result for each in verdicts}
    told_of = {**proof, "verdicts": [each.document() for each in verdicts], "looked_at": schedule.stamp(now)}
    row = Row(PROOF_ROW, told_of)
    if results == {Result.PASSED}:
        seconds = [each.seconds for each in verdicts if each.seconds is not None]
        facts = {"messages": len(verdicts), "slowest_seconds": max(seconds, default=None), "proved_at": schedule.stamp(now)}
        return Done(facts={IS_PROVED: True, "is_off": False, **facts}, rows=(row,))
    if Result.FAILED not in results and now < sent_at + PATIENCE:
        delay = schedule.backoff(run.step.attempts + 1, FIRST_LOOK, LONGEST)
        return _wait(run, delay, "Waiting for what becomes of the test messages", rows=(row,))
    if now < _changed_at(run) + SETTLED:
        why = "Not proved yet: a rule takes up to 60 minutes to reach every server of Exchange Online. Trying again."
        return _wait(run, AGAIN_AFTER, why, rows=(Row(PROOF_ROW, {**told_of, "sent_at": ""}),))
    failed = [f"{each.probe.direction} {each.probe.kind} {each.probe.domain}: {each.words}" for each in verdicts if _counts(each)]
    cause = f"{problem('mail_not_proved').cause} {told(failed)}"
    return Failed(problem=problem("mail_not_proved", cause=cause), rows=(row,))


def _counts(verdict: Verdict) -> bool:
    return verdict.result is not Result.PASSED


def _wait(run: Run, delay: timedelta, why: str, rows: tuple[Row, ...]) -> Wait:
    begun = run.step.begun_at or run.clock()
    then = Failed(problem=problem("mail_not_proved"))
    return Wait(until=run.clock() + delay, why=why, give_up_at=begun + SETTLED + 2 * PATIENCE, then=then, rows=rows)


def _asked_at(run: Run) -> str:
    """Return when this proof was asked for: what an earlier one has left is not this one's."""
    return schedule.stamp(run.step.begun_at) if run.step.begun_at else ""


def _changed_at(run: Run) -> datetime:
    """Return when rules were changed last."""
    steps = (run.grant.steps[name] for name in (StepName.MAIL_FLOW, StepName.POLICY_ACTIVATION))
    return max((step.finished_at for step in steps if step.finished_at), default=run.grant.created_at)


def _probe(entry: Mapping[str, Any]) -> Probe:
    """Return a test message as its row has it."""
    return Probe(**{**entry, "direction": Direction(entry["direction"]), "kind": ProbeKind(entry["kind"])})
