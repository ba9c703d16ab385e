"""The inbox: a message is done once however often it comes, and one that can't be read is kept whole, with its reason."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any
from uuid import uuid4, uuid5

import pytest
import pytest_asyncio
from azure.storage.queue.aio import QueueServiceClient

from local import azurite
from shared.commands import GRANTS_NAMESPACE, AccountHasGrantError
from shared.domain.decision import Decision
from shared.domain.grant import Grant, RoleMode
from shared.domain.steps import WORK_QUEUES, Queue, StepName, StepState
from shared.engine import Engine
from shared.inbox import LONGEST_REASON
from shared.messages import MessageError, StartGrant, read_command
from shared.ports import DeadLetter
from tests.support.grantline import Grantline, grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONSENT, SYNC = StepName.MAIL_FLOW_CONSENT, StepName.DIRECTORY_SYNC
_ACCOUNTS = count(1)
ALL_LETTERS = 10_000
REUSED = "this command id, or idempotency key, was used for another command before"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[Grantline]:
    """Give one Grantline for all tests of this module; each has an account of its own."""
    async with await azurite.start() as storage, grantline(storage.connection_string) as parts:
        yield parts


@pytest.fixture
def account() -> str:
    """Give an account that no other test has."""
    return f"inbox-{next(_ACCOUNTS)}"


def start_command(account: str, command_id: str = "one", **changes: Any) -> dict[str, Any]:
    """Return a command that starts a grant."""
    command = {
        "type": "grant.start",
        "command_id": command_id,
        "account_id": account,
        "account_name": account.title(),
        "requested_by": "the product's console",
    }
    return command | changes


async def receive(parts: Grantline, queue: Queue, body: Mapping[str, Any] | bytes) -> list[DeadLetter]:
    """Hand a message to the inbox as the host does; return the dead letters that it became."""
    letters = parts.container.storage.dead_letters
    before = {letter.letter_id for letter in await letters.recent(ALL_LETTERS)}
    await parts.container.inbox.receive(queue, body if isinstance(body, bytes) else json.dumps(body).encode())
    return [letter for letter in await letters.recent(ALL_LETTERS) if letter.letter_id not in before]


async def live_grant(parts: Grantline, account: str) -> Grant:
    """Return the account's grant."""
    grant_id = await parts.container.storage.bindings.live_grant(account)
    assert grant_id
    return await parts.grant(grant_id)


# --- what can't be read --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"not JSON", "not JSON"),
        (b"\xff\xfe\x00 no text at all", "not JSON"),
        (b"[" * 40_000, "nested too deeply"),
        (b"[1, 2]", "message"),
        (b"null", "message"),
        (b"{}", "type"),
        (b'{"type": "grant.stop"}', "type"),
        (b'{"type": "grant.start", "version": 2}', "version 2"),
        (b'{"type": "grant.start", "version": "1"}', "version"),
        (json.dumps({"type": "step.retry", "x" * 40_000: 1}).encode(), "step.retry"),
        (json.dumps(start_command("a/b")).encode(), "account_id"),
        (json.dumps(start_command("a", directions=[])).encode(), "directions"),
        (json.dumps(start_command("a", policy="a policy that nobody offers")).encode(), "not offered"),
        (json.dumps(start_command("a", scope={"kind": "group"})).encode(), "scope group"),
        (json.dumps(start_command("a", account_name="\ud800")).encode(), "account_name"),
    ],
    ids=lambda value: None if isinstance(value, str) else repr(value[:40]),
)
async def test_what_cannot_be_read_is_kept_whole(parts: Grantline, body: bytes, reason: str) -> None:
    """One dead letter with queue, reason and the body to the byte; nothing is raised, so the host does not try again."""
    letters = await receive(parts, Queue.CONSOLE_COMMANDS, body)

    assert len(letters) == 1
    letter = letters[0]
    assert letter.queue == Queue.CONSOLE_COMMANDS
    assert letter.body == body.decode(errors="backslashreplace")
    assert reason in letter.reason
    assert len(letter.reason) <= LONGEST_REASON


async def test_an_unreadable_message_tells_the_grant_that_it_names(parts: Grantline, account: str) -> None:
    """The grant gets an audit event, and its step a problem with the reason; no state changes."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    before = await live_grant(parts, account)
    body = {"type": "step.nudge", "version": 9, "grant_id": before.grant_id, "step": SYNC}

    letters = await receive(parts, Queue.DIRECTORY_SYNCS, body)

    after = await parts.grant(before.grant_id)
    found = after.steps[SYNC].problem
    assert len(letters) == 1
    assert found
    assert (found.code, found.raw) == ("message_unreadable", f"{Queue.DIRECTORY_SYNCS}: {letters[0].reason}")
    assert "version 9" in found.raw
    assert {step.state for step in after.steps.values()} == {step.state for step in before.steps.values()}
    events = await parts.container.storage.grants.events(before.grant_id)
    assert (events[-1].type, events[-1].step, events[-1].data["code"]) == ("message.dead_lettered", SYNC, "message_unreadable")


@pytest.mark.parametrize("step", ["no such step", None, [], {}, 7], ids=str)
async def test_an_unreadable_step_tells_the_grant_as_a_whole(parts: Grantline, account: str, step: object) -> None:
    """A grant that is named with no step of ours gets the event, and no step a problem."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant = await live_grant(parts, account)

    letters = await receive(parts, Queue.VERIFICATIONS, {"type": "step.nudge", "grant_id": grant.grant_id, "step": step})

    assert len(letters) == 1
    assert (await parts.events(grant.grant_id))[-1] == "message.dead_lettered"
    assert all(each.problem is None for each in (await parts.grant(grant.grant_id)).steps.values())


@pytest.mark.parametrize("grant_id", [str(uuid4()), "no id", 7, None, ["x"]], ids=["unknown", "text", "number", "null", "list"])
async def test_a_message_for_no_grant_is_kept_all_the_same(parts: Grantline, grant_id: object) -> None:
    """Where no grant is named, or none that is there, the dead letter is all."""
    letters = await receive(parts, Queue.VERIFICATIONS, {"type": "step.nudge", "version": 9, "grant_id": grant_id})

    assert len(letters) == 1


# --- what can be read but not done ---------------------------------------------------------------------------------------------


async def test_a_nudge_on_a_wrong_queue_is_kept(parts: Grantline, account: str) -> None:
    """Each step has its queue: a nudge elsewhere is not worked on, and its step shows why."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant_id = (await live_grant(parts, account)).grant_id

    letters = await receive(parts, Queue.VERIFICATIONS, {"type": "step.nudge", "grant_id": grant_id, "step": SYNC})

    assert [letter.reason for letter in letters] == ["this message belongs on directory-syncs, not on verifications"]
    found = (await parts.grant(grant_id)).steps[SYNC].problem
    assert found
    assert letters[0].reason in found.raw


@pytest.mark.parametrize("queue", [queue for queue in WORK_QUEUES if queue is not Queue.CONSOLE_COMMANDS])
async def test_a_command_on_a_wrong_queue_is_kept(parts: Grantline, account: str, queue: Queue) -> None:
    """Commands come on console-commands: elsewhere they start nothing."""
    letters = await receive(parts, queue, start_command(account))

    assert [letter.reason for letter in letters] == [f"this message belongs on console-commands, not on {queue}"]
    assert await parts.container.storage.bindings.live_grant(account) is None


async def test_a_nudge_for_an_unknown_grant_is_nothing(parts: Grantline) -> None:
    """A nudge carries no truth: one whose grant is not there has nothing to say."""
    assert await receive(parts, Queue.DIRECTORY_SYNCS, {"type": "step.nudge", "grant_id": str(uuid4()), "step": SYNC}) == []


async def test_a_retry_of_an_unknown_grant_is_kept(parts: Grantline) -> None:
    """A command says what somebody wants: it is not lost without a word."""
    command = {"type": "step.retry", "command_id": "r", "grant_id": str(uuid4()), "step": SYNC, "requested_by": "x"}

    letters = await receive(parts, Queue.CONSOLE_COMMANDS, command)

    assert [letter.reason for letter in letters] == [f"there is no grant {command['grant_id']}"]


# --- commands that come twice --------------------------------------------------------------------------------------------------


async def test_the_same_command_twice_is_one_grant(parts: Grantline, account: str) -> None:
    """Queues deliver at least once: the second time changes nothing."""
    assert await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account)) == []
    grant = await live_grant(parts, account)

    assert await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account)) == []

    again = await live_grant(parts, account)
    assert (again.grant_id, again.seq, again.steps) == (grant.grant_id, grant.seq, grant.steps)
    assert await parts.events(grant.grant_id) == ["grant.created"]


async def test_a_second_start_for_an_account_is_refused(parts: Grantline, account: str) -> None:
    """One account has one live grant: another command is kept, and its reason names the grant that is there."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant = await live_grant(parts, account)

    letters = await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account, "two"))

    assert [letter.reason for letter in letters] == [f"account {account} already has grant {grant.grant_id}"]
    assert await live_grant(parts, account) == grant


async def test_an_account_whose_grant_was_never_saved_is_taken_over(parts: Grantline, account: str) -> None:
    """A crash between the account's binding and the save of the grant locks nobody out."""
    await parts.container.storage.bindings.bind_account(account, str(uuid4()))

    letters = await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))

    assert letters == []
    assert (await live_grant(parts, account)).account_id == account


@dataclass(frozen=True)
class SlowEngine:
    """An engine whose creation of a grant waits until a rival has done something."""

    engine: Engine
    rival: Callable[[], Awaitable[Any]]

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the engine does."""
        return getattr(self.engine, name)

    async def create(self, decision: Decision) -> Grant:
        """Let the rival go first."""
        await self.rival()
        return await self.engine.create(decision)


async def test_of_two_starts_at_once_one_is_saved(parts: Grantline, account: str) -> None:
    """A start that hesitates between its claim and its save is taken for forgotten, and its save finds the door shut."""
    commands = parts.container.site.commands

    def start(command_id: str) -> StartGrant:
        return StartGrant(command_id=command_id, account_id=account, account_name="A", requested_by="a test")

    slow = replace(commands, engine=SlowEngine(commands.engine, lambda: commands.execute(start("quick"))))  # type: ignore[arg-type] # acts as one

    with pytest.raises(AccountHasGrantError) as caught:
        await slow.execute(start("slow"))

    live = await live_grant(parts, account)
    slow_id = str(uuid5(GRANTS_NAMESPACE, f"{account}|slow"))
    assert caught.value.grant_id == live.grant_id != slow_id
    assert await parts.container.storage.grants.load(slow_id) is None


async def test_the_same_retry_twice_begins_the_step_once(parts: Grantline, account: str) -> None:
    """A retry counts from the moment that its row is saved; when it comes again, after all, it changes nothing."""
    grant_id = await waiting_for_a_fix(parts, account)
    command = {"type": "step.retry", "command_id": "again", "grant_id": grant_id, "step": CONSENT, "requested_by": "somebody"}

    assert await receive(parts, Queue.CONSOLE_COMMANDS, command) == []
    begun = await parts.grant(grant_id)
    assert begun.steps[CONSENT].state is StepState.WAITING_FOR_PERSON
    assert begun.steps[CONSENT].problem is None
    await fail(parts, grant_id)
    failed = await parts.grant(grant_id)
    assert await receive(parts, Queue.CONSOLE_COMMANDS, command) == []

    assert await parts.grant(grant_id) == failed
    assert (await parts.events(grant_id)).count("step.retried") == 1


def choose_command(grant_id: str, role_mode: str = "by_hand", command_id: str = "choose") -> dict[str, Any]:
    """Return a command that chooses another way to the role."""
    return {
        "type": "role_mode.choose",
        "command_id": command_id,
        "grant_id": grant_id,
        "role_mode": role_mode,
        "requested_by": "somebody",
    }


async def test_the_way_to_the_role_is_chosen_once(parts: Grantline, account: str) -> None:
    """The choice is an audit event with who made it; when it comes again it does not undo a later one."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant_id = (await live_grant(parts, account)).grant_id
    by_hand, back = choose_command(grant_id), choose_command(grant_id, "sign_in", "back")

    assert await receive(parts, Queue.CONSOLE_COMMANDS, by_hand) == []
    assert (await parts.grant(grant_id)).intent.role_mode is RoleMode.BY_HAND
    assert await receive(parts, Queue.CONSOLE_COMMANDS, back) == []
    assert await receive(parts, Queue.CONSOLE_COMMANDS, by_hand) == []

    assert (await parts.grant(grant_id)).intent.role_mode is RoleMode.SIGN_IN
    events = await parts.container.storage.grants.events(grant_id)
    assert [event.data for event in events if event.type == "role_mode.chosen"] == [
        {"role_mode": "by_hand", "actor": "somebody"},
        {"role_mode": "sign_in", "actor": "somebody"},
    ]


async def test_a_way_that_is_not_offered_is_refused(parts: Grantline, account: str) -> None:
    """Without a role assigner nobody starts, or goes over to, what could only end in a problem."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant = await live_grant(parts, account)
    commands = parts.container.inbox.commands
    bare = replace(commands, settings=commands.settings.model_copy(update={"role_assigner_client_id": None}))
    start = {**start_command(f"{account}-2"), "role_mode": "application"}

    for body in (choose_command(grant.grant_id, "application"), start):
        with pytest.raises(MessageError, match="no role assigner"):
            await bare.execute(read_command(body))
    assert (await parts.grant(grant.grant_id)).intent.role_mode is RoleMode.SIGN_IN


async def test_a_choice_for_no_grant_is_kept(parts: Grantline) -> None:
    """A command says what somebody wants: it is not lost without a word."""
    command = choose_command(str(uuid4()))

    letters = await receive(parts, Queue.CONSOLE_COMMANDS, command)

    assert [letter.reason for letter in letters] == [f"there is no grant {command['grant_id']}"]


@pytest.mark.parametrize(
    "change", [{"account_name": "Another name"}, {"role_mode": "by_hand"}, {"directions": ["inbound"]}], ids=str
)
async def test_an_id_that_starts_something_else_is_refused(parts: Grantline, account: str, change: dict[str, Any]) -> None:
    """The same command id for another start: what was done stands, and the message is kept with its reason."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant = await live_grant(parts, account)

    letters = await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account, **change))

    assert [letter.reason for letter in letters] == [REUSED]
    again = await live_grant(parts, account)
    assert (again.grant_id, again.account_name, again.intent) == (grant.grant_id, grant.account_name, grant.intent)


async def test_whoever_sends_it_a_command_is_the_same(parts: Grantline, account: str) -> None:
    """A repetition by somebody else, such as a colleague's second click on the same form, is still a repetition."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))

    assert await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account, requested_by="a colleague")) == []


async def test_an_id_that_does_something_else_is_refused(parts: Grantline, account: str) -> None:
    """The same command id for another command of the grant changes nothing, whatever kind it is."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant_id = (await live_grant(parts, account)).grant_id
    await receive(parts, Queue.CONSOLE_COMMANDS, choose_command(grant_id))
    retry = {"type": "step.retry", "command_id": "choose", "grant_id": grant_id, "step": CONSENT, "requested_by": "x"}

    for command in (choose_command(grant_id, "sign_in"), retry, choose_command(grant_id, command_id="one")):
        assert [letter.reason for letter in await receive(parts, Queue.CONSOLE_COMMANDS, command)] == [REUSED]

    assert (await parts.grant(grant_id)).intent.role_mode is RoleMode.BY_HAND


async def waiting_for_a_fix(parts: Grantline, account: str) -> str:
    """Start a grant whose person never comes; return its id once its first step needs attention."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant_id = (await live_grant(parts, account)).grant_id
    await fail(parts, grant_id)
    return grant_id


async def fail(parts: Grantline, grant_id: str) -> None:
    """Let the patience with the first step's person run out."""
    clock = (await parts.grant(grant_id)).steps[CONSENT].clock
    assert clock
    parts.clock.advance_to(clock)
    assert (await parts.work(grant_id, CONSENT)).steps[CONSENT].state is StepState.NEEDS_ATTENTION


# --- what the functions host gave up on ----------------------------------------------------------------------------------------


async def test_poison_queues_are_drained_into_dead_letters(parts: Grantline, account: str) -> None:
    """Every poison queue, whatever lies there: base64 or not, deep or deeper; the grants that are named are told."""
    await receive(parts, Queue.CONSOLE_COMMANDS, start_command(account))
    grant_id = (await live_grant(parts, account)).grant_id
    nudge = json.dumps({"type": "step.nudge", "grant_id": grant_id, "step": SYNC})
    bodies = {queue: [nudge, f"{account} in {queue}", "[" * 30_000] for queue in WORK_QUEUES}
    for queue, texts in bodies.items():
        await put_on_poison(parts, queue, [b64encode(texts[0].encode()).decode(), *texts[1:]])
    before = {letter.letter_id for letter in await parts.container.storage.dead_letters.recent(ALL_LETTERS)}

    count = await parts.container.inbox.drain_poison()

    new = [each for each in await parts.container.storage.dead_letters.recent(ALL_LETTERS) if each.letter_id not in before]
    assert count == len(new) == 3 * len(WORK_QUEUES)
    assert {queue: sorted(each.body for each in new if each.queue == queue) for queue in WORK_QUEUES} == {
        queue: sorted(texts) for queue, texts in bodies.items()
    }
    assert all("gave up" in each.reason for each in new)
    assert (await parts.events(grant_id)).count("message.dead_lettered") == len(WORK_QUEUES)
    assert await parts.container.inbox.drain_poison() == 0
    assert await left_on_poison(parts) == 0


async def put_on_poison(parts: Grantline, queue: Queue, texts: list[str]) -> None:
    """Put messages on a queue's poison queue, as the functions host does: the text is what the work queue had."""
    async with queues(parts) as service:
        poison = service.get_queue_client(f"{queue}-poison")
        await poison.create_queue()
        for text in texts:
            await poison.send_message(text)


async def left_on_poison(parts: Grantline) -> int:
    """Return how many messages lie on all poison queues, visible or not."""
    async with queues(parts) as service:
        clients = [service.get_queue_client(f"{queue}-poison") for queue in WORK_QUEUES]
        return sum([(await client.get_queue_properties()).approximate_message_count or 0 for client in clients])


def queues(parts: Grantline) -> QueueServiceClient:
    """Open the storage account's queues."""
    connection = parts.settings.storage_connection
    assert connection
    return QueueServiceClient.from_connection_string(connection.get_secret_value())
