"""The steps of a grant, as one table: the engine, the console and the docs all read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shared.domain.problems import Actor


class Queue(StrEnum):
    """The storage queues, by what is done with their messages."""

    CONSOLE_COMMANDS = "console-commands"
    ROLE_ASSIGNMENTS = "role-assignments"
    MAIL_FLOW_CHANGES = "mail-flow-changes"
    DIRECTORY_SYNCS = "directory-syncs"
    VERIFICATIONS = "verifications"
    GRANT_EVENTS = "grant-events"
    MAIL_PROBES = "mail-probes"


WORK_QUEUES = tuple(queue for queue in Queue if queue not in (Queue.GRANT_EVENTS, Queue.MAIL_PROBES))
"""The queues that Grantline reads; ``grant-events`` and ``mail-probes`` are for others to read."""


class StepName(StrEnum):
    """The names of the steps."""

    MAIL_FLOW_CONSENT = "mail_flow_consent"
    ROLE_ASSIGNMENT = "role_assignment"
    DIRECTORY_CONSENT = "directory_consent"
    DIRECTORY_SYNC = "directory_sync"
    PREFLIGHT = "preflight"
    MAIL_FLOW = "mail_flow"
    VERIFICATION = "verification"
    POLICY_ACTIVATION = "policy_activation"
    ACTIVITY_CONSENT = "activity_consent"
    MAIL_PROOF = "mail_proof"
    ACCESS_WATCH = "access_watch"
    DAILY_SYNC = "daily_sync"
    ROUTING_REMOVAL = "routing_removal"
    DRAIN = "drain"
    MAIL_FLOW_REMOVAL = "mail_flow_removal"
    DIRECTORY_REMOVAL = "directory_removal"
    ACCESS_REMOVAL = "access_removal"


class StepState(StrEnum):
    """The states of a step."""

    BLOCKED = "blocked"
    WAITING_FOR_PERSON = "waiting_for_person"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    DONE = "done"
    NEEDS_ATTENTION = "needs_attention"


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """What is always true of a step.

    ``person`` begins the step and is told ``asks``; None where Grantline begins it by itself. A retry waits ``retry_first``, then
    twice as long each time up to ``retry_cap``; after ``give_up`` of retries the step needs attention.
    """

    name: StepName
    title: str
    requires: tuple[StepName, ...]
    queue: Queue
    person: Actor | None = None
    asks: str = ""
    stands_on: StepName | None = None
    """The step whose work Microsoft takes back when it refuses this one: it is done again then."""
    is_optional: bool = False
    """True for what a grant is complete without; nobody is hurried to do it."""
    redone_after: tuple[StepName, ...] = ()
    """The steps after which, when one of them was done again in a completed grant, this one is done again."""
    repeats: timedelta | None = None
    """How long after it was done, or needed a person, the step is done again; a grant is complete without it."""
    own_moment_after: timedelta | None = None
    """Set for what repeats at the tenant's own moment of the day: how long after the last time that moment lies at the least.

    When its turn comes first it is not begun, but looks at that moment: what it keeps up to date has just been made.
    """
    tells_each_time: bool = False
    """True for what repeats and is told each time that it is done; of all else that repeats only news is."""
    apart_from: tuple[StepName, ...] = ()
    """The steps that write the same rows: no run of this one begins while one of theirs is under way."""
    on_demand: bool = False
    """True for what a person may have done again at any time."""
    needs_routing: bool = False
    """True for what makes no sense while the routing is paused."""
    is_removal: bool = False
    """True for what takes back what the others made: begun only by the command that removes a grant, which ends the others."""
    retry_first: timedelta = timedelta(seconds=2)
    retry_cap: timedelta = timedelta(minutes=5)
    give_up: timedelta = timedelta(hours=24)


_TABLE = (
    StepDefinition(
        StepName.MAIL_FLOW_CONSENT,
        "Grant permission to configure the Exchange mail flow",
        (),
        Queue.CONSOLE_COMMANDS,
        Actor.TENANT_ADMINISTRATOR,
        "Sign in at Microsoft and accept the permission to configure the Exchange mail flow.",
        give_up=timedelta(minutes=30),
    ),
    StepDefinition(
        StepName.ROLE_ASSIGNMENT,
        "Assign the Exchange administrator role to the application",
        (StepName.MAIL_FLOW_CONSENT,),
        Queue.ROLE_ASSIGNMENTS,
        Actor.TENANT_ADMINISTRATOR,
        "Sign in at Microsoft once, so that the role can be assigned for you.",
        stands_on=StepName.MAIL_FLOW_CONSENT,
    ),
    StepDefinition(
        StepName.DIRECTORY_CONSENT,
        "Grant permission to sync users and domains and to access mailboxes",
        (StepName.MAIL_FLOW_CONSENT,),
        Queue.CONSOLE_COMMANDS,
        Actor.TENANT_ADMINISTRATOR,
        "Sign in at Microsoft and accept the permission to sync users and domains and to access mailboxes.",
        give_up=timedelta(minutes=30),
    ),
    StepDefinition(
        StepName.DIRECTORY_SYNC,
        "Sync domains, users and groups",
        (StepName.DIRECTORY_CONSENT,),
        Queue.DIRECTORY_SYNCS,
        stands_on=StepName.DIRECTORY_CONSENT,
        apart_from=(StepName.DAILY_SYNC,),
    ),
    StepDefinition(
        StepName.PREFLIGHT,
        "Check the tenant's related security settings",
        (StepName.ROLE_ASSIGNMENT,),
        Queue.MAIL_FLOW_CHANGES,
        stands_on=StepName.ROLE_ASSIGNMENT,
    ),
    StepDefinition(
        StepName.MAIL_FLOW,
        "Create the mail-flow objects",
        (StepName.PREFLIGHT,),
        Queue.MAIL_FLOW_CHANGES,
        stands_on=StepName.ROLE_ASSIGNMENT,
    ),
    StepDefinition(
        StepName.VERIFICATION,
        "Read everything back from Microsoft",
        (StepName.MAIL_FLOW, StepName.DIRECTORY_SYNC),
        Queue.VERIFICATIONS,
        redone_after=(
            StepName.MAIL_FLOW_CONSENT,
            StepName.ROLE_ASSIGNMENT,
            StepName.DIRECTORY_CONSENT,
            StepName.DIRECTORY_SYNC,
            StepName.PREFLIGHT,
            StepName.MAIL_FLOW,
        ),
    ),
    StepDefinition(
        StepName.POLICY_ACTIVATION,
        "Switch on the routing and the chosen policy",
        (StepName.VERIFICATION,),
        Queue.VERIFICATIONS,
        stands_on=StepName.ROLE_ASSIGNMENT,
        redone_after=(StepName.MAIL_FLOW,),
    ),
    StepDefinition(
        StepName.ACTIVITY_CONSENT,
        "Grant permission to read activity data",
        (StepName.POLICY_ACTIVATION,),
        Queue.CONSOLE_COMMANDS,
        Actor.TENANT_ADMINISTRATOR,
        "Sign in at Microsoft and accept the permission to read activity data, for protection based on user behavior.",
        is_optional=True,
        give_up=timedelta(minutes=30),
    ),
    StepDefinition(
        StepName.MAIL_PROOF,
        "Prove with test messages that mail is scanned",
        (StepName.POLICY_ACTIVATION,),
        Queue.VERIFICATIONS,
        is_optional=True,
        redone_after=(StepName.MAIL_FLOW, StepName.POLICY_ACTIVATION),
        on_demand=True,
        needs_routing=True,
    ),
    StepDefinition(
        StepName.ACCESS_WATCH,
        "Watch the consents and the role",
        (StepName.POLICY_ACTIVATION,),
        Queue.VERIFICATIONS,
        repeats=timedelta(days=1),
    ),
    StepDefinition(
        StepName.DAILY_SYNC,
        "Keep users, groups and domains in sync",
        (StepName.POLICY_ACTIVATION,),
        Queue.DIRECTORY_SYNCS,
        stands_on=StepName.DIRECTORY_CONSENT,
        repeats=timedelta(days=1),
        own_moment_after=timedelta(hours=6),
        tells_each_time=True,
        apart_from=(StepName.DIRECTORY_SYNC,),
        on_demand=True,
        retry_first=timedelta(seconds=30),
        retry_cap=timedelta(hours=1),
    ),
    StepDefinition(StepName.ROUTING_REMOVAL, "Switch off the routing for good", (), Queue.MAIL_FLOW_CHANGES, is_removal=True),
    StepDefinition(
        StepName.DRAIN,
        "Wait until no message is under way",
        (StepName.ROUTING_REMOVAL,),
        Queue.MAIL_FLOW_CHANGES,
        redone_after=(StepName.ROUTING_REMOVAL,),
        is_removal=True,
    ),
    StepDefinition(
        StepName.MAIL_FLOW_REMOVAL,
        "Take back what was added to the mail flow",
        (StepName.DRAIN,),
        Queue.MAIL_FLOW_CHANGES,
        is_removal=True,
    ),
    StepDefinition(
        StepName.DIRECTORY_REMOVAL,
        "Delete what was synced of the directory",
        (StepName.MAIL_FLOW_REMOVAL,),
        Queue.DIRECTORY_SYNCS,
        is_removal=True,
    ),
    StepDefinition(
        StepName.ACCESS_REMOVAL,
        "See that the consents and the role are taken back",
        (StepName.DIRECTORY_REMOVAL,),
        Queue.VERIFICATIONS,
        is_removal=True,
    ),
)

STEPS: Mapping[StepName, StepDefinition] = {definition.name: definition for definition in _TABLE}
"""Every step, in the order in which people read them."""


def ancestors(name: StepName) -> frozenset[StepName]:
    """Return every step that must be done before ``name``, near and far."""
    near = STEPS[name].requires
    return frozenset(near).union(*(ancestors(required) for required in near))
