"""Reading and changing the mail-flow objects of a run's tenant."""

from asyncio import gather
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from shared.domain import schedule
from shared.domain.problems import GrantlineError, Problem, problem
from shared.mailflow.desired import (
    DesiredObject,
    DesiredSetting,
    ForeignObject,
    Request,
    Routing,
    desired_objects,
    desired_settings,
    group_names,
)
from shared.mailflow.diff import (
    CUSTOMIZATION,
    Change,
    Difference,
    changes,
    differences,
    foreign_objects,
    is_current,
    setting_differences,
    setting_reads,
)
from shared.mailflow.kinds import GET_MEMBERS, GET_RECIPIENT, KINDS, OPTIONAL_READS, READS, Kind
from shared.mailflow.snapshot import CHANGE_ROWS, FORMER_ROWS, WRITTEN_ROWS, Snapshot, read_snapshot
from shared.mailflow.tenant import MEMBERS, TenantObjects
from shared.mailflow.verdict import verdict_secret
from shared.ports import CmdletAnswer, CmdletCall, Exchange, NotFoundError, RefusedError
from shared.workflows.run import Run, progress_row

WRITE_MARGIN = timedelta(seconds=10)
"""No write begins with less time left: a cmdlet that has begun is to end, and be journaled, within the run."""
OBJECT_READS = frozenset({"Get-AcceptedDomain", *(kind.get for kind in KINDS.values())})
"""What must be read to know where the objects of a grant stand."""
NOT_CUSTOMIZED = "organization_not_customized"
"""The problem of a write that Exchange refuses before the organization is customized."""
EXISTS_ALREADY = "already exists"
"""What Exchange says of a name that is taken (ADObjectAlreadyExistsException)."""
_GET_GROUP = KINDS[Kind.DISTRIBUTION_GROUP].get


class StaleReadError(GrantlineError):
    """Raised when a write shows that what was read is older than the tenant: read again later."""


async def read_tenant(
    exchange: Exchange, groups: Collection[str] = (), cmdlets: Iterable[str] = OBJECT_READS, people: Collection[str] = ()
) -> TenantObjects:
    """Read what the cmdlets return, each once; of the tenant's groups only those named in ``groups``, with their members.

    Of its recipients only ``people`` are read, where the cmdlets have that. All of it is asked for together. What the tenant may
    be without, and does not answer, is left out of what is returned.
    """
    wanted = set(cmdlets)
    reads = {**READS, **OPTIONAL_READS}
    calls = [CmdletCall(cmdlet, parameters) for cmdlet in reads if cmdlet in wanted for parameters in reads[cmdlet]]
    of_groups = [call for name in groups for call in _group_calls(name)] if _GET_GROUP in wanted else []
    of_people = [CmdletCall(GET_RECIPIENT, {"Identity": name}) for name in people] if GET_RECIPIENT in wanted else []
    answers = await exchange.invoke_many([*calls, *of_groups, *of_people])
    found: dict[str, list[dict[str, Any]]] = {_GET_GROUP: []} if _GET_GROUP in wanted else {}
    for call, answer in zip(calls, answers, strict=False):
        if isinstance(answer, list):
            found.setdefault(call.cmdlet, []).extend(answer)
        elif call.cmdlet not in OPTIONAL_READS:
            raise answer
    pairs = answers[len(calls) : len(calls) + len(of_groups)]
    for group, members in zip(pairs[::2], pairs[1::2], strict=True):
        found[_GET_GROUP] += _group(group, members)
    known = _people(answers[len(calls) + len(of_groups) :])
    return TenantObjects(found if known is None or GET_RECIPIENT not in wanted else {**found, GET_RECIPIENT: known})


def _people(answers: Sequence[CmdletAnswer]) -> list[dict[str, Any]] | None:
    """Return the recipients among the answers; None where each is refused, as by a role that does not offer the cmdlet."""
    if answers and all(isinstance(answer, RefusedError) for answer in answers):
        return None
    return [row for answer in answers if isinstance(answer, list) for row in answer]


def _group_calls(name: str) -> tuple[CmdletCall, CmdletCall]:
    return CmdletCall(_GET_GROUP, {"Identity": name}), CmdletCall(GET_MEMBERS, {"Identity": name, "ResultSize": "Unlimited"})


def _group(group: CmdletAnswer, members: CmdletAnswer) -> list[dict[str, Any]]:
    """Return a group with its members in it; none when either is not there. Raises RefusedError when either is refused."""
    match group, members:
        case (RefusedError() as refused, _) | (_, RefusedError() as refused):
            raise refused
        case list(), list():
            return [{**each, MEMBERS: members} for each in group]
    return []


@dataclass(frozen=True, slots=True)
class View:
    """What a grant wants of its tenant, and what the tenant holds."""

    request: Request
    tenant: TenantObjects

    @property
    def desired(self) -> tuple[DesiredObject, ...]:
        """The objects that the grant wants."""
        return desired_objects(self.request)

    @property
    def settings(self) -> tuple[DesiredSetting, ...]:
        """What the grant wants of others' objects."""
        return desired_settings(self.request)

    @property
    def foreign(self) -> tuple[DesiredObject, ...]:
        """Those whose name somebody else's object has."""
        return foreign_objects(self.desired, self.tenant, self.request.grant_id, self.request.former_grants)

    @property
    def differences(self) -> list[Difference]:
        """What the tenant does not hold as it must be."""
        objects = differences(self.desired, self.tenant, self.request.grant_id, self.request.former_grants)
        return [*objects, *setting_differences(self.settings, self.tenant)]

    @property
    def changes(self) -> list[Change]:
        """What puts it right, in order."""
        return changes(self.desired, self.tenant, self.request.grant_id, self.request.former_grants, self.settings)


async def look(run: Run, exchange: Exchange, routing: Routing = Routing.OFF, cmdlets: Iterable[str] = ()) -> View:
    """Read the tenant of a run and return it beside what the grant wants of it; ``cmdlets`` names what else is to be read."""
    request = await request_of(run, routing)
    reads = {*OBJECT_READS, *setting_reads(desired_settings(request)), *cmdlets}
    tenant = await read_tenant(exchange, group_names(request), reads, request.intent.scope.users)
    return View(replace(request, accepted_domains=tenant.accepted_domains), tenant)


async def request_of(run: Run, routing: Routing = Routing.OFF) -> Request:
    """Return what a run's objects are made from, as far as it is known before the tenant is read."""
    secret = verdict_secret(run.settings.verdict_secrets_key, run.grant.grant_id)
    former = await former_grants(run)
    return Request(run.grant.grant_id, run.grant.intent, run.settings, (), secret, routing, former)


async def former_grants(run: Run) -> tuple[str, ...]:
    """Return the grants that had the tenant before, the last one first; none where the tenant is not this grant's (yet)."""
    binding = await run.clients.bindings.tenant(run.grant.tenant_id)
    return binding.former_grants if binding and binding.grant_id == run.grant.grant_id else ()


async def snapshot_of(run: Run) -> Snapshot:
    """Return what the journal knows of the tenant, with what the grants knew that had it before, the oldest first."""
    rows = [
        row
        for grant_id in (*reversed(await former_grants(run)), run.grant.grant_id)
        for prefix in (FORMER_ROWS, WRITTEN_ROWS, CHANGE_ROWS)
        for row in await run.clients.rows.rows(prefix, of=grant_id)
    ]
    return read_snapshot(rows)


async def apply(run: Run, exchange: Exchange, pending: Sequence[Change], of: int) -> bool:
    """Make changes one after the other, each journaled before and after, and show how far they are of ``of`` objects.

    The run's right to write is read anew before each. Returns False when its time, or that right, ended before the changes did.
    Raises RefusedError that names the object when Exchange refuses one, StaleReadError when what was read is out of date.
    """
    for number, change in enumerate(pending, start=1):
        if run.time_left() <= WRITE_MARGIN:
            return False
        journal, name = run.clients.journal, change.object.name
        _, holds_step = await gather(journal.before(name, change.former, change.written), run.holds_step())
        if not holds_step:
            return False
        await _check_current(exchange, change)
        try:
            await _write(exchange, change)
        except RefusedError as error:
            if await _is_spreading(run, error):
                raise StaleReadError("the organization's customization has not spread to all servers yet") from None
            raise
        await gather(journal.after(name, change.result), show_progress(run, pending[number:], of))
    return True


async def show_progress(run: Run, pending: Sequence[Change], of: int) -> None:
    """Show how many of the grant's objects are as it wants them; ``pending`` is what is still to be changed."""
    unfinished = {change.object.name for change in pending}
    value = {"objects": max(of - len(unfinished), 0), "of": of, "at": schedule.stamp(run.clock())}
    await run.clients.rows.put(progress_row(run.step.name, value))


async def _is_spreading(run: Run, error: RefusedError) -> bool:
    """True when Exchange refuses for want of the customization that Grantline has enabled: it may take an hour to be seen."""
    noun, what = CUSTOMIZATION
    return error.problem.code == NOT_CUSTOMIZED and await run.clients.rows.row(f"{FORMER_ROWS}{noun}|{what}") is not None


async def _check_current(exchange: Exchange, change: Change) -> None:
    """Read a list of others once more before it is written whole: what somebody has added since must not be lost."""
    if change.replaces is None or not isinstance(change.object, ForeignObject):
        return
    if not is_current(change, await read_tenant(exchange, cmdlets=[change.object.get])):
        raise StaleReadError(f"{change.object.name} was changed after it was read")


async def _write(exchange: Exchange, change: Change) -> None:
    """Run one cmdlet. What its refusal says never shows the object's secrets."""
    try:
        await exchange.invoke(change.cmdlet, change.parameters)
    except NotFoundError as error:
        if not change.is_creation and not _names_member(change, str(error)):
            raise StaleReadError(f"{change.object.name} was read but is not there") from None
        raise _refused(change, problem("exchange_refused", raw=str(error))) from None
    except RefusedError as error:
        if change.is_creation and EXISTS_ALREADY in error.problem.raw:
            raise StaleReadError(f"{change.object.name} is there but was not read") from None
        raise _refused(change, error.problem) from None


def _names_member(change: Change, told: str) -> bool:
    """True where it is a member of the group who is not there, and not the group itself."""
    return any(f"'{name}'".casefold() in told.casefold() for name in change.parameters.get(MEMBERS, ()))


def _refused(change: Change, found: Problem) -> RefusedError:
    """Return a refusal that names the object and the cmdlet, without the values that are secret."""
    raw = found.raw
    for text in change.hidden:
        raw = raw.replace(text, "(secret)")
    cause = f"{found.cause} ({change.cmdlet} of '{change.object.name}')"
    return RefusedError(cause, replace(found, cause=cause, raw=raw))
