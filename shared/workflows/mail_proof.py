"""Mail proof: test messages show that mail is scanned, once, each way and for each domain.

They are ordered of the product, which sends and receives them; what became of each is read from message trace and from what the
scanner reports. A rule takes up to an hour to reach every server of Exchange Online: what fails before is tried once more.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from shared.domain import schedule
from shared.domain.directory import User, record_of
from shared.domain.grant import IS_PROVED, Direction, Facts, Row
from shared.domain.intents import probe_row
from shared.domain.outcomes import Done, Failed, Outcome, Wait
from shared.domain.probes import Probe, ProbeKind
from shared.domain.problems import problem
from shared.domain.steps import StepName
from shared.mailflow.desired import Request, Routing, group_names, scoped_domains, verdict_rule_names
from shared.mailflow.drain import RULES_SETTLE
from shared.mailflow.kinds import GET_MEMBERS
from shared.mailflow.proof import Evidence, Mailboxes, Result, Traced, Verdict, is_returned, judge, probes, unproved
from shared.ports import Exchange
from shared.workflows.run import Run, told
from shared.workflows.tenant import look, request_of
from shared.workflows.traces import details, names_any, traced

PROOF_ROW = "proof"
"""The row of the last proof: its test messages, with what each has come to."""
FIRST_LOOK, LONGEST = timedelta(seconds=10), timedelta(minutes=2)
PATIENCE = timedelta(minutes=30)
"""How long message trace and the scanner may take to tell of a test message."""
AGAIN_AFTER = timedelta(minutes=20)
"""How long after a proof that failed another one is made, while rules may still be on their way."""
SETTLED = RULES_SETTLE + timedelta(minutes=5)
"""After how long a failure counts."""
MOST_PAGES = 10
"""How many pages of the directory are looked at for mailboxes of every domain."""
MOST_UNPROVED = 100
"""How many domains without a test message are told by name."""


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
    return _outcome(run, proof, [judge(each, request) for each in await _evidence(run, exchange, request, proof)])


async def _order(run: Run, exchange: Exchange, request: Request, last: Facts) -> Outcome:
    """Order one message after the other. A crash in between orders others: no message is ever sent twice."""
    number = int(last.get("number", 0)) + 1
    wanted = probes(request, f"{number}", await _mailboxes(run, exchange, request))
    if not wanted:
        return Failed(problem=problem("no_test_mailbox"))
    messages = [asdict(each) for each in wanted]
    without = unproved(request, wanted)
    told_of = {"unproved": without[:MOST_UNPROVED], "unproved_count": len(without), "probes": messages}
    proof = {"version": 1, "asked_at": _asked_at(run), "number": number, "sent_at": "", **told_of}
    await run.clients.rows.put(Row(PROOF_ROW, proof))
    for probe in wanted:
        await run.clients.probes.order(run.grant, probe)
    sent = Row(PROOF_ROW, {**proof, "sent_at": schedule.stamp(run.clock())})
    return _wait(run, FIRST_LOOK, f"{len(wanted)} test messages are on their way", rows=(sent,))


async def _mailboxes(run: Run, exchange: Exchange, request: Request) -> Mailboxes:
    """Return mailboxes in scope for the domains: the first ones by their addresses, so that these get the messages each time."""
    domains = set(scoped_domains(request))
    scope = request.intent.scope
    if scope.is_by_people:
        # Of chosen people our own group has each as a member; of a chosen group it has the group alone.
        group = scope.group or group_names(request)[0]
        members = await exchange.invoke(GET_MEMBERS, {"Identity": group, "ResultSize": "Unlimited"})
        return _chosen(((str(each.get("PrimarySmtpAddress") or ""), _addresses(each)) for each in members), domains)
    directory = run.clients.microsoft.directory(run.grant.tenant_id)
    people: list[tuple[str, Sequence[str]]] = []
    page = await directory.users()
    for _ in range(MOST_PAGES):
        users = (record_of(User, change) for change in page.items)
        people += [(user.mail, user.addresses) for user in users if isinstance(user, User) and user.enabled]
        found = _chosen(people, domains)
        if not page.next_link or (domains <= found.primary.keys() and found.aliases):
            break
        page = await directory.users(page.next_link)
    return found


def _addresses(member: Mapping[str, Any]) -> list[str]:
    """Return a recipient's SMTP addresses, as Exchange writes them: ``SMTP:`` before the primary one, ``smtp:`` before others."""
    written = [str(each).partition(":") for each in member.get("EmailAddresses") or ()]
    return [address for kind, _, address in written if kind.lower() == "smtp"]


def _chosen(people: Iterable[tuple[str, Sequence[str]]], domains: AbstractSet[str]) -> Mailboxes:
    """Choose from mailboxes' own and other addresses; other addresses count of those alone whose own domain is in scope."""
    primary: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for own, addresses in sorted((own.lower(), addresses) for own, addresses in people if own):
        if (domain := _domain(own)) not in domains:
            continue
        primary.setdefault(domain, own)
        for other in sorted(each.lower() for each in addresses if each.lower() != own):
            if _domain(other) in domains:
                aliases.setdefault(_domain(other), other)
    return Mailboxes(primary, aliases)


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


async def _evidence(run: Run, exchange: Exchange, request: Request, proof: Facts) -> list[Evidence]:
    """Read what is known of each message: message trace in one query, its details of forged ones, the scanner's reports."""
    wanted = [_probe(each) for each in proof["probes"]]
    begun = schedule.parse(str(proof["sent_at"])) - PATIENCE
    ids = [probe.message_id for probe in wanted]
    found = await traced(exchange, MessageId=ids, StartDate=begun, EndDate=run.clock() + PATIENCE)
    rows = await run.clients.rows.rows(probe_row(""))
    reports = {row.key: row.value for row in rows}
    known = []
    for probe in wanted:
        passages = [each for each in found if str(each["MessageId"]).casefold() == probe.message_id.casefold()]
        believed = await _is_believed(exchange, request, passages) if probe.kind is ProbeKind.FORGED_HEADER else None
        known.append(Evidence(probe, passages, reports.get(probe_row(probe.probe_id)), believed))
    return known


async def _is_believed(exchange: Exchange, request: Request, passages: Sequence[Traced]) -> bool | None:
    """Tell whether a verdict rule took a message that did not come from the scanner; None where no event is told of it."""
    first = [each for each in passages if not is_returned(each, request, Direction.INBOUND)]
    events = [event for each in first for event in await details(exchange, each)]
    return names_any(events, verdict_rule_names(request)) if events else None


def _outcome(run: Run, proof: Facts, verdicts: list[Verdict]) -> Outcome:
    """Tell what all messages together prove."""
    now, sent_at = run.clock(), schedule.parse(str(proof["sent_at"]))
    results = {each.result for each in verdicts}
    told_of = {**proof, "verdicts": [each.document() for each in verdicts], "looked_at": schedule.stamp(now)}
    row = Row(PROOF_ROW, told_of)
    if results == {Result.PASSED}:
        seconds = [each.seconds for each in verdicts if each.seconds is not None]
        without = {"unproved": proof.get("unproved", []), "unproved_count": proof.get("unproved_count", 0)}
        slowest = max(seconds, default=None)
        facts = {"messages": len(verdicts), **without, "slowest_seconds": slowest, "proved_at": schedule.stamp(now)}
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
