"""The way in for queue messages: read, do, and keep whole whatever can't be read."""

import json
import logging
from dataclasses import dataclass
from uuid import UUID

from shared import telemetry
from shared.commands import AccountHasGrantError, Commands
from shared.domain import decide
from shared.domain.grant import Nudge
from shared.domain.problems import GrantlineError, ProblemError, problem
from shared.domain.steps import STEPS, WORK_QUEUES, Queue, StepName
from shared.engine import Engine
from shared.messages import MessageError, NudgeMessage, read
from shared.ports import DeadLetter, DeadLetters, PoisonQueues

LOG = logging.getLogger(__name__)

LONGEST_REASON = 1000
"""How much of a fault is told, in characters: it may name what the message calls its fields."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """Takes the messages of every work queue, and what the functions host gave up on."""

    engine: Engine
    commands: Commands
    dead_letters: DeadLetters
    poison: PoisonQueues

    async def receive(self, queue: Queue, body: bytes) -> None:
        """Do what a message asks. One that can't be read, or is refused, is kept as a dead letter with its reason.

        Other errors escape, so that the host gives the message back to its queue.
        """
        text = body.decode(errors="backslashreplace")  # a body that is no text is kept to the byte, too
        try:
            message = read(text)
            if isinstance(message, NudgeMessage):
                _check_queue(queue, STEPS[message.step].queue)
                await self.engine.work(Nudge(message.grant_id, message.step, self.engine.clock(), message.cause))
            else:
                _check_queue(queue, Queue.CONSOLE_COMMANDS)
                await self.commands.execute(message)
        except ProblemError as error:
            await self._keep(queue, text, error.problem.cause[:LONGEST_REASON])
        except (MessageError, AccountHasGrantError) as error:
            await self._keep(queue, text, str(error)[:LONGEST_REASON])

    async def drain_poison(self) -> int:
        """Keep every message of all poison queues as a dead letter; return how many there were."""
        kept = 0
        for queue in WORK_QUEUES:

            async def keep(body: str, queue: Queue = queue) -> None:
                await self._keep(queue, body, "the functions host gave up after its last try; see its log for this queue")

            kept += await self.poison.drain(queue, keep)
        return kept

    async def _keep(self, queue: Queue, body: str, reason: str) -> None:
        """Store the message whole, and tell its grant where one is named."""
        LOG.warning("dead letter from %s: %s", queue, telemetry.redact(reason))
        await self.dead_letters.keep(DeadLetter(queue, body, reason, self.engine.clock()))
        grant_id, step = _addressee(body)
        found = problem("message_unreadable", raw=f"{queue}: {reason}")
        if not grant_id:
            return
        try:
            await self.engine.commit(
                grant_id, lambda grant, now: decide.note(grant, step, found, now, event="message.dead_lettered")
            )
        except GrantlineError as error:  # the letter is safe: one grant that can't be told never holds up the others' letters
            LOG.warning("grant %s could not be told of its dead letter: %s", grant_id, telemetry.describe(error))


def _check_queue(queue: Queue, right: Queue) -> None:
    if queue is not right:
        raise MessageError(f"this message belongs on {right}, not on {queue}")


def _addressee(body: str) -> tuple[str, StepName | None]:
    """Return the grant and the step that an unreadable message still names, as far as it does."""
    try:
        content = json.loads(body)
        grant_id = str(UUID(content["grant_id"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", None
    try:
        return grant_id, StepName(content.get("step", ""))
    except ValueError:
        return grant_id, None
