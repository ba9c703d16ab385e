"""Commands of the console: they change intent, and count from the moment that their row is saved."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from shared.domain import decide, intents
from shared.domain.decision import Decision
from shared.domain.grant import Facts, Grant, RoleMode, Row
from shared.domain.problems import GrantlineError
from shared.engine import Engine
from shared.messages import (
    AcknowledgeFinding,
    ApprovePlan,
    ChooseRoleMode,
    Command,
    FixFinding,
    GrantCommand,
    MessageError,
    PauseRouting,
    RemoveGrant,
    ReportProbe,
    ReportScanner,
    ResumeRouting,
    RetryStep,
    StartGrant,
    WaiveRemoval,
)
from shared.ports import Bindings, ConflictError
from shared.settings import Settings

START_ROW = "start"
"""The row that a grant's creation makes; where it is there without a grant, the account was given to another start."""
INSTEAD = "instead"
"""Which start the account was given to."""
GRANTS_NAMESPACE = UUID("5c7f4b0e-6c0b-5e0e-9d5f-3c1d2f0a7b11")
"""Grant ids are UUIDs (RFC 9562, version 5) of account and command in this namespace: the same command is the same grant."""


COMMON_FIELDS = frozenset(GrantCommand.model_fields) | {"type"}
"""What every command of a grant carries that is no part of what it asks for."""
Transition = Callable[[Any, Grant, datetime], Decision | None]
"""From a command, the grant as it is now and the time to what must be saved."""


@dataclass
class AccountHasGrantError(GrantlineError):
    """Raised when an account that has a live grant is to start another; ``grant_id`` is the one it has."""

    grant_id: str = ""


class CommandReusedError(MessageError):
    """Raised when a command's id was used for another command before: what was done then stands."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Carries out commands, whichever way they come in: a queue message or a form."""

    engine: Engine
    bindings: Bindings
    settings: Settings

    async def execute(self, command: Command) -> str:
        """Carry out a command and return its grant's id; doing it twice is doing it once.

        Raises MessageError for a command that can't be done as it is, CommandReusedError, AccountHasGrantError, ConflictError,
        and ProblemError for one that makes no sense for the grant as it is now.
        """
        row = _command_row(command)
        if isinstance(command, StartGrant):
            self._check_offered(command.role_mode)
            self._check_region(command.region)
            return await self._start(command, row)
        if isinstance(command, ChooseRoleMode):
            self._check_offered(command.role_mode)
        known = await self.engine.grants.row(command.grant_id, row.key)
        if known is not None:
            return _same(command.grant_id, known, row)

        def change(grant: Grant, now: datetime) -> Decision | None:
            decision = TRANSITIONS[type(command)](command, grant, now)
            return _with_row(decision, row) if decision else None

        saved = await self.engine.commit(command.grant_id, change)
        if saved is None and await self.engine.grants.load(command.grant_id) is None:
            raise MessageError(f"there is no grant {command.grant_id}")
        return command.grant_id

    def _check_offered(self, role_mode: RoleMode) -> None:
        """Raise MessageError for a way to the role that this installation has no registration for."""
        if role_mode is RoleMode.APPLICATION and not self.settings.offers_role_assigner:
            raise MessageError("role_mode 'application' is not offered: this installation has no role assigner")

    def _check_region(self, region: str) -> None:
        """Raise MessageError for a region in which this installation has no scanner."""
        if region not in self.settings.scanners:
            known = ", ".join(sorted(filter(None, self.settings.scanners))) or "none"
            raise MessageError(f"region {region!r} is not offered; choose one of: {known}; or leave it empty")

    async def _start(self, command: StartGrant, row: Row) -> str:
        intent = command.to_intent(self.settings.policy_names)
        grant_id = str(uuid5(GRANTS_NAMESPACE, f"{command.account_id}|{command.command_id}"))
        await self._claim_account(command.account_id, grant_id)
        decision = decide.create(
            grant_id=grant_id,
            account_id=command.account_id,
            account_name=command.account_name,
            intent=intent,
            created_by=command.requested_by,
            now=self.engine.clock(),
        )
        try:
            await self.engine.create(_with_row(_with_row(decision, row), Row(START_ROW, {})))
        except ConflictError:
            await self._check_start(command.account_id, grant_id)
            raise
        return _same(grant_id, await self.engine.grants.row(grant_id, row.key) or row.value, row)

    async def _claim_account(self, account_id: str, grant_id: str) -> None:
        """Name the account's live grant. One that is released, or was named but never saved (a crash in between), gives way."""
        live = await self.bindings.bind_account(account_id, grant_id)
        if live != grant_id and await self._gives_way(live, grant_id):
            await self.bindings.bind_account(account_id, grant_id, instead_of=live)
        await self._check_account(account_id, grant_id)

    async def _gives_way(self, live: str, grant_id: str) -> bool:
        """Tell whether a claim is over: its grant is released, or was never saved.

        What was never saved will not be: its save, if it still comes, finds the row that it must make.
        """
        stored = await self.engine.grants.load(live)
        if stored:
            return stored.grant.released_at is not None
        await self.engine.grants.insert(live, Row(START_ROW, {INSTEAD: grant_id}))
        return await self.engine.grants.load(live) is None

    async def _check_start(self, account_id: str, grant_id: str) -> None:
        """Raise AccountHasGrantError when another start has taken our claim for forgotten; its own claim may be yet to come."""
        await self._check_account(account_id, grant_id)
        row = await self.engine.grants.row(grant_id, START_ROW) or {}
        if INSTEAD in row:
            live = str(row[INSTEAD])
            raise AccountHasGrantError(f"account {account_id} already has grant {live}", grant_id=live)

    async def _check_account(self, account_id: str, grant_id: str) -> None:
        """Raise AccountHasGrantError when the account's live grant is another."""
        live = await self.bindings.live_grant(account_id)
        if live and live != grant_id:
            raise AccountHasGrantError(f"account {account_id} already has grant {live}", grant_id=live)


def _retry(command: RetryStep, grant: Grant, now: datetime) -> Decision | None:
    return decide.retry(grant, command.step, now, actor=command.requested_by)


def _choose_role_mode(command: ChooseRoleMode, grant: Grant, now: datetime) -> Decision | None:
    return decide.choose_role_mode(
        grant,
        command.role_mode,
        now,
        actor=command.requested_by,
        ticket_number=command.ticket_number,
        ticket_system=command.ticket_system,
    )


def _intent(transition: Callable[..., Decision | None]) -> Transition:
    """Return how a command is carried out whose own fields are what its transition takes by name."""

    def carry_out(command: GrantCommand, grant: Grant, now: datetime) -> Decision | None:
        own = {name: getattr(command, name) for name in type(command).model_fields if name not in COMMON_FIELDS}
        return transition(grant, now, actor=command.requested_by, **own)

    return carry_out


def _report_probe(command: ReportProbe, grant: Grant, now: datetime) -> Decision | None:
    seen = {"scans": command.scans, "answer": command.answer}
    return intents.report_probe(grant, now, probe_id=command.probe_id, seen=seen, actor=command.requested_by)


TRANSITIONS: Mapping[type[Command], Transition] = {
    RetryStep: _retry,
    ChooseRoleMode: _choose_role_mode,
    PauseRouting: _intent(intents.pause),
    ResumeRouting: _intent(intents.resume),
    ApprovePlan: _intent(intents.approve_plan),
    AcknowledgeFinding: _intent(intents.acknowledge),
    FixFinding: _intent(intents.fix),
    RemoveGrant: _intent(intents.remove),
    WaiveRemoval: _intent(intents.waive),
    ReportScanner: _intent(intents.report_scanner),
    ReportProbe: _report_probe,
}
"""What each command changes in its grant; None when there is nothing to do. All but the one that makes the grant."""


def _command_row(command: Command) -> Row:
    """Return the row that a command counts from. It holds what was asked for, hashed, whoever asked.

    What is not said is not hashed: a field that a newer release adds with a default makes no other command of an older one.
    """
    content = command.model_dump_json(exclude={"requested_by"}, exclude_defaults=True)
    if isinstance(command, GrantCommand):  # some are told apart by nothing else; the older ones keep the hash that they have
        content = f"{command.type}{content}"
    return Row(f"command|{command.command_id}", {"sha256": hashlib.sha256(content.encode()).hexdigest()})


def _same(grant_id: str, known: Facts, row: Row) -> str:
    """Return the grant's id if the command that is known is this one. Raises CommandReusedError."""
    if known.get("sha256") != row.value["sha256"]:
        raise CommandReusedError("this command id, or idempotency key, was used for another command before")
    return grant_id


def _with_row(decision: Decision, row: Row) -> Decision:
    return replace(decision, rows=(*decision.rows, row))
