"""What Grantline needs of the outside world, as small protocols. Their docstrings are the contracts.

``shared/storage`` and ``shared/microsoft`` implement them; only ``shared/container.py`` knows which. Every method is a coroutine
that does input or output, and raises only errors of Grantline's own tree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.domain.directory import (
    Differences,
    DirectoryChange,
    DirectoryState,
    Edit,
    Generation,
    Member,
    Record,
    SyncedDomain,
    User,
)
from shared.domain.grant import Event, Facts, Grant, GrantState, Nudge, Row
from shared.domain.probes import Probe
from shared.domain.problems import GrantlineError, Problem, ProblemError

Clock = Callable[[], datetime]
"""Tells the time, aware, in UTC."""


class ConflictError(GrantlineError):
    """Raised when a row changed since it was read, exists already, or when the answer of a save was lost: read again."""


@dataclass
class TransientError(GrantlineError):
    """Raised when Microsoft or the network can't serve us for now; ``retry_after`` is Microsoft's wish, if it gave one."""

    retry_after: timedelta | None = None


@dataclass
class NotYetError(GrantlineError):
    """Raised when Microsoft does not know yet what a person has just done: a consent or a role that has not spread.

    The message is in plain words and the same each time; ``raw`` is what Microsoft said.
    """

    raw: str = ""


class RefusedError(ProblemError):
    """Raised when Microsoft refuses for a reason that waiting does not cure; carries the problem for a person."""


# --- storage -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """A grant as it was read, with the ETag that a save of it must match."""

    grant: Grant
    etag: str


class Change(Protocol):
    """What one transaction writes; ``decision.Decision`` is one."""

    @property
    def grant(self) -> Grant:
        """The grant as it is to be."""

    @property
    def events(self) -> Sequence[Event]:
        """Its new events."""

    @property
    def rows(self) -> Sequence[Row]:
        """Rows of its partition to write."""

    @property
    def deletes(self) -> Sequence[str]:
        """Row keys of its partition to delete."""


class GrantStore(Protocol):
    """The ``grants`` table: one partition a grant, changed only by transactions on the grant's ETag."""

    async def load(self, grant_id: str) -> Stored | None:
        """Return the grant, or None when there is none."""

    async def create(self, change: Change) -> Stored:
        """Insert a new grant with its first events and rows in one transaction. Raises ConflictError when any of them exists."""

    async def save(self, stored: Stored, change: Change) -> Stored:
        """Save a change of the grant that was read as ``stored``, in one transaction, all or nothing.

        The grant row is replaced if its ETag still matches; events are inserted; rows are written; deleted row keys may be
        absent. Raises ConflictError when the grant changed since, or when no answer came (it may then be saved or not).
        """

    async def row(self, grant_id: str, key: str) -> Facts | None:
        """Return one row of the grant's partition, or None."""

    async def rows(self, grant_id: str, prefix: str) -> list[Row]:
        """Return the rows of the grant's partition whose key begins with ``prefix``, in key order."""

    async def put(self, grant_id: str, row: Row) -> None:
        """Write one row outside of any transition (progress, results of changes): last one wins."""

    async def insert(self, grant_id: str, row: Row) -> bool:
        """Insert one row; return False, and change nothing, when it exists already."""

    async def events(self, grant_id: str, after: int = 0, *, limit: int | None = None) -> list[Event]:
        """Return the grant's events with a sequence number above ``after``, in order, at most ``limit``."""


@dataclass(frozen=True, slots=True)
class DueRow:
    """One row of the due index: look at this grant at this minute."""

    at: datetime
    grant_id: str


class DueIndex(Protocol):
    """The ``due`` table: when the sweep must look at which grant. Times are rounded up to whole minutes by the caller."""

    async def put(self, row: DueRow) -> None:
        """Write the row; writing it twice is no error."""

    async def until(self, now: datetime) -> list[DueRow]:
        """Return the rows at or before ``now``, oldest first."""

    async def delete(self, row: DueRow) -> None:
        """Delete the row; an absent one is no error."""


class Nudges(Protocol):
    """The work queues. A message may be lost, doubled or reordered: nothing depends on it but latency."""

    async def send(self, nudge: Nudge, *, delay: timedelta) -> None:
        """Put the nudge on the queue of its step, invisible for ``delay`` (at most 7 days, whole seconds, rounded up)."""


class EventQueue(Protocol):
    """The ``grant-events`` queue, for other systems."""

    async def publish(self, grant: Grant, event: Event) -> None:
        """Put the event on the queue as a CloudEvents 1.0 JSON message with id ``grant id/seq``."""


class ProbeQueue(Protocol):
    """The ``mail-probes`` queue: test messages that the product is to send and to receive."""

    async def order(self, grant: Grant, probe: Probe) -> None:
        """Put the order on the queue as JSON; its id tells a repetition."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be read or kept failing, whole. ``letter_id`` is its row's name."""

    queue: str
    body: str
    reason: str
    at: datetime
    letter_id: str = ""


class DeadLetters(Protocol):
    """The ``deadletters`` table."""

    async def keep(self, letter: DeadLetter) -> str:
        """Store the letter and return its id. A body too large for one property is stored in parts."""

    async def recent(self, count: int = 50) -> list[DeadLetter]:
        """Return the newest letters first."""


class PoisonQueues(Protocol):
    """The poison queues that the functions host fills."""

    async def drain(self, queue: str, keep: Callable[[str], Any]) -> int:
        """Await ``keep(body)`` for each message of ``queue``'s poison queue, deleting each after it is kept; return the count.

        A poison queue that does not exist is empty.
        """


@dataclass(frozen=True, slots=True)
class Binding:
    """Which account has a tenant: reserved by a proved sign-in, confirmed when its consent has been seen to work.

    ``former_grants`` are the grants that had the tenant before this one, the last one first: what they made in the tenant is
    this one's to look after. It is kept by the table, whatever a new binding says of it.
    """

    tenant_id: str
    account_id: str
    grant_id: str
    reserved_at: datetime
    confirmed: bool = False
    former_grants: tuple[str, ...] = field(default=(), compare=False)


class Bindings(Protocol):
    """The ``bindings`` table: one tenant has at most one account; one account has one live grant for a service."""

    async def tenant(self, tenant_id: str) -> Binding | None:
        """Return who has the tenant."""

    async def bind_tenant(self, binding: Binding, *, instead_of: str = "") -> Binding:
        """Insert or replace the tenant's binding, unless another account has it; return the binding that stands.

        Another account's mere reservation gives way once it is an hour old, and a binding that names the grant ``instead_of``,
        which the caller knows to be released, at once.
        """

    async def live_grant(self, account_id: str) -> str | None:
        """Return the id of the account's live grant for the service."""

    async def bind_account(self, account_id: str, grant_id: str, *, instead_of: str = "") -> str:
        """Name the account's live grant, unless it has another than ``instead_of``; return the id of the one that stands."""


NOT_GRANTED = "not_granted"
"""The state, in the console's lists, of an account that has no grant."""
ACCOUNT_STATES: tuple[str, ...] = (*GrantState, NOT_GRANTED)
"""Every state that an account can have in the console's lists."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """One row of the console's lists: a projection, never the truth.

    ``seq`` is the sequence number of the grant that the row was made from. ``is_service_account``: the grant was completed once.
    ``asks_activity``: the account could still grant the permission to read activity data. ``notices`` are the codes of what its
    last sync has found that a person should know (``shared.domain.notices``).
    """

    account_id: str
    account_name: str
    grant_id: str
    state: str
    directions: tuple[str, ...]
    users_synced: int | None
    last_sync: datetime | None
    next_clock: datetime | None
    tenant_id: str = ""
    tenant_name: str = ""
    created_by: str = ""
    is_service_account: bool = False
    asks_activity: bool = False
    notices: tuple[str, ...] = ()
    seq: int = 0

    def is_older_than(self, other: "AccountRow") -> bool:
        """Tell whether ``other``, of the same account, says something newer.

        Rows of one grant are told apart by ``seq``; of two with the same, neither is older. A row without a grant is older than
        every one with a grant. Grants of one account follow each other, so of rows of two grants neither is older: the later one
        to be written stands.
        """
        if self.grant_id == other.grant_id:
            return self.seq < other.seq
        return not self.grant_id


class Accounts(Protocol):
    """The ``accounts`` table, for the console's lists: all accounts, those in one state, the service accounts, each by name."""

    async def put(self, row: AccountRow) -> None:
        """Put the account into the lists that it belongs to and take it from all others; nothing when a newer row is known.

        Repeating it is no error, and finishes what was left halfway. Raises ConflictError when rivals keep changing the account.
        """

    async def page(
        self, count: int = 50, after: str = "", *, state: str = "", name: str = "", service_accounts: bool = False
    ) -> tuple[list[AccountRow], str]:
        """Return the next ``count`` rows (at most 999) by name, and the token of the following page ("" at the end).

        ``state`` narrows the list to the accounts in that state, ``service_accounts`` to service accounts (of any state, so not
        both), ``name`` to those whose name begins with it, whatever the letter case. A page costs one request; where ``name`` is
        longer than what sorts the list, it may be shorter than ``count`` and yet have a following one. The token says nothing to
        people; one that can't be read, or that points outside of the list, begins anew.
        """

    async def count(self) -> Mapping[str, int]:
        """Return how many accounts are in each of ``ACCOUNT_STATES``: reads every key, so it is for a timer."""

    async def keep_counts(self, counts: Mapping[str, int], at: datetime) -> None:
        """Keep what was counted at ``at``; last one wins."""

    async def counts(self) -> tuple[Mapping[str, int], datetime] | None:
        """Return what was counted last, and when; None when nothing was counted yet. It costs one request for one row."""


class DirectoryWriter(Protocol):
    """Writes one generation of a tenant's directory, for one run: it remembers what it has read, and is not shared.

    Each write of records counts them in the same transaction, under the next number of what was counted. So the counts are exact
    whatever is cut off where, and a run that lost its step to another can't go on writing: it meets TransientError.
    """

    async def records(self, kind: type[Record], ids: Sequence[str]) -> Mapping[str, Record]:
        """Return those of the objects that are stored, by id."""

    async def insert(self, records: Sequence[Record], members: Mapping[str, Sequence[Member]], owners: Sequence[User]) -> bool:
        """Insert new records, groups with their ``members`` by group id, and the addresses of ``owners`` in few transactions.

        The records of ``owners`` are stored already: whoever is killed in between leaves no address without its user. Returns
        False, with some of it written, where any of the rows is there already: ``write`` puts that right.
        """

    async def write(self, edits: Sequence[Edit], *, is_repeated: bool = False) -> None:
        """Carry edits out: what does not change is not written, unless ``is_repeated``.

        Addresses are released first (an address that another user has by now stays theirs), then records are written, then
        their addresses. A run that is killed in between repeats it with ``is_repeated``, and leaves the same rows.
        """

    async def counts(self) -> Mapping[str, int]:
        """Return how many ``users`` and ``groups`` the generation holds, and how many ``hidden_groups`` hide their members."""


class DirectoryStore(Protocol):
    """The ``directory`` table: users, groups with members, and domains. A sync fills a new generation, then makes it current."""

    async def current(self, tenant_id: str) -> DirectoryState | None:
        """Return what readers read, or None before the first sync."""

    async def begin(self, tenant_id: str, shards: int) -> tuple[Generation, tuple[Generation, ...]]:
        """Return a new generation that no other run has ever written, and those that were begun before it and never published.

        They are the tenant's: a grant that ended in the middle of a sync may have left some behind. Raises TransientError.
        """

    def writer(self, tenant_id: str, generation: Generation) -> DirectoryWriter:
        """Return a writer of one generation."""

    async def publish(self, tenant_id: str, state: DirectoryState) -> None:
        """Make ``state`` what readers read. An older generation never replaces a newer one."""

    async def compare(self, tenant_id: str, former: Generation, newer: Generation, shard: int) -> Differences:
        """Tell how the users, groups and members in one shard of two generations with as many shards differ."""

    async def delete(self, tenant_id: str, generation: Generation, shard: int) -> None:
        """Delete every row in one shard of a generation; none is no error."""

    async def retire(self, tenant_id: str) -> tuple[Generation, ...]:
        """Take the tenant's directory from its readers; return every generation that may still have rows, to be deleted.

        May be done again. Their numbers are never used again. Raises TransientError when others keep publishing.
        """

    async def find_by_address(self, tenant_id: str, address: str) -> User | None:
        """Return the user who has the SMTP address in the current generation, whatever its letter case."""

    async def members(self, tenant_id: str, group_id: str) -> Sequence[Member]:
        """Return the direct members of a group in the current generation."""

    async def users_in(self, tenant_id: str, group_id: str) -> frozenset[str]:
        """Return the ids of all users in a group in the current generation, nested groups included: the closure is ours."""

    async def domains(self, tenant_id: str) -> Sequence[SyncedDomain]:
        """Return the tenant's domains by name."""

    async def put_domains(self, tenant_id: str, domains: Sequence[SyncedDomain]) -> None:
        """Make these the tenant's domains; only what differs is written."""


# --- Microsoft -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UsedCredential:
    """The credential that Microsoft has taken from an application, without anything secret.

    ``kind`` is certificate, client secret or managed identity; ``name`` is the certificate's thumbprint or the identity's client
    id; ``ends_at`` is None where Grantline can't know it; one that ``is_former`` was taken because the newer one is not known.
    """

    kind: str
    name: str = ""
    ends_at: datetime | None = None
    is_former: bool = False


@dataclass(frozen=True, slots=True)
class ApplicationToken:
    """What the application's own token for a tenant says; read for diagnosis, issued by Microsoft over TLS."""

    tenant_id: str
    client_id: str
    object_id: str
    """The object id of the application's service principal in the tenant."""
    permissions: frozenset[str]
    """Granted application permissions: the ``roles`` claim."""
    directory_roles: frozenset[str]
    """Role template ids: the ``wids`` claim."""
    credential: UsedCredential | None = None
    """What the token was given for; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class SignInRequest:
    """What a sign-in at Microsoft is begun with. The verifier and the nonce are kept by us; the browser sees their hash.

    ``fresh``: whoever is signed in already signs in anew. ``second_factor``: with multifactor authentication, and anew too.
    """

    application: str
    tenant: str
    redirect_uri: str
    state: str
    nonce: str
    verifier: str
    scopes: tuple[str, ...] = ()
    fresh: bool = False
    second_factor: bool = False


@dataclass(frozen=True, slots=True)
class SignInAnswer:
    """What Microsoft's token endpoint gave for a code: not yet proved. ``access_token`` is "" unless scopes were asked for."""

    id_token: str = field(repr=False)
    access_token: str = field(default="", repr=False)
    expires_in: int = 0


class SignIn(Protocol):
    """Microsoft's identity platform, for people."""

    async def tenant_of_domain(self, domain: str) -> str | None:
        """Return the tenant id of a domain name, or of the id itself, from public metadata; None when Microsoft knows none."""

    def authorization_url(self, request: SignInRequest) -> str:
        """Return where the browser goes to sign in: authorization code, PKCE S256, response_mode=query."""

    def admin_consent_url(self, application: str, tenant_id: str, redirect_uri: str, state: str) -> str:
        """Return where the browser goes to consent to all that the application registers, at the proved tenant's address."""

    async def redeem(self, request: SignInRequest, code: str) -> SignInAnswer:
        """Redeem a code, once. Raises RefusedError (used, expired, wrong verifier) or TransientError."""

    async def signing_keys(self, *, fresh: bool = False) -> Mapping[str, Any]:
        """Return Microsoft's public signing keys by key id, as PyJWT key objects; ``fresh`` reads them anew."""

    def issuer(self) -> str:
        """Return the issuer that id_tokens of this cloud name, with ``{tenantid}`` in the place of the tenant id."""

    def graph_audiences(self) -> frozenset[str]:
        """Return what an access token for Microsoft Graph may name as its audience, in lower case."""

    def redirect_problem(self, error: str, description: str) -> Problem:
        """Return the problem that an error redirect of Microsoft stands for (an AADSTS code in its description)."""

    def client_id(self, application: str) -> str:
        """Return the client id of one of the operator's applications: mail_flow, directory, role_helper, role_assigner, activity.

        Raises RefusedError for one that this installation is without.
        """

    def roles_page(self) -> str:
        """Return the address of "Roles and administrators" in the Microsoft Entra admin center of this cloud."""


@dataclass(frozen=True, slots=True)
class MicrosoftCall:
    """One call that is made to Microsoft: method and path, and the source that names its least permission."""

    method: str
    path: str
    source: str


@dataclass(frozen=True, slots=True)
class AskedPermission:
    """One permission that an administrator is asked for: who uses it, what for, and what it would allow beyond that."""

    name: str
    resource: str
    """The Microsoft service that it is for, by its name."""
    consumer: str
    reason: str
    risk: str
    delegated: bool
    """True where it counts only while the administrator's own sign-in lasts."""
    is_optional: bool = False
    """True where nothing waits for it or breaks without it."""
    calls: tuple[MicrosoftCall, ...] = ()
    """The calls that Grantline makes with it; none for what only the product uses."""


class TenantIdentity(Protocol):
    """The applications' own tokens for a tenant."""

    async def application_token(self, application: str, tenant_id: str) -> ApplicationToken:
        """Ask for a new token (never a cached one) of the application's resource and return what it says.

        Raises NotYetError before the consent has spread, RefusedError, TransientError.
        """

    def required_permissions(self, application: str) -> frozenset[str]:
        """Return the application permissions that a consent to the application must have given, from the one catalogue."""

    def optional_permissions(self, application: str) -> frozenset[str]:
        """Return the application permissions that a consent may have given beside: nothing waits for them or breaks without."""

    def asked_permissions(self, application: str) -> tuple[AskedPermission, ...]:
        """Return what an administrator is asked for by the application, in the order in which people read it."""


@dataclass(frozen=True, slots=True)
class CmdletCall:
    """A cmdlet with its parameters."""

    cmdlet: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


class Exchange(Protocol):
    """One tenant's Exchange Online, as the mail-flow application. Reads and writes are cmdlets with documented parameters."""

    async def offered_cmdlets(self) -> frozenset[str]:
        """Return the names of the cmdlets that Exchange offers to the application.

        Raises NotYetError while Exchange does not let the application in.
        """

    async def invoke(self, cmdlet: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Run a cmdlet and return its objects, of all pages, without their type annotations.

        Raises NotFoundError, NotYetError, RefusedError (with Exchange's own text), TransientError.
        """

    async def invoke_many(self, calls: Sequence[CmdletCall]) -> Sequence["CmdletAnswer"]:
        """Run reads that do not depend on each other, in as few requests as it takes; return their answers in the same order.

        What fails one call alone, NotFoundError or RefusedError, stands in the place of its objects. Raises NotYetError or
        TransientError when any call is to come back later.
        """


class NotFoundError(GrantlineError):
    """Raised when the object that a cmdlet or a request names does not exist."""


CmdletAnswer = list[dict[str, Any]] | NotFoundError | RefusedError
"""What a cmdlet came to: its objects, or the error that it alone ended with."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection, and where the next one is ("" after the last).

    ``delta_link`` stands on the last page of a round of changes: where the next round begins. ``pause`` is how long Microsoft is
    better left alone before the next request, because the application is close to its limit in the tenant.
    """

    items: tuple[DirectoryChange, ...]
    next_link: str = ""
    delta_link: str = ""
    pause: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Organization:
    """The tenant as Microsoft names it."""

    tenant_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain of the tenant. ``receives_mail``: verified, and "Email" among its supported services."""

    name: str
    is_verified: bool
    is_initial: bool
    is_default: bool
    receives_mail: bool


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """What the DNS says of a domain's mail: its mail exchangers, the preferred one first, in lower case without a dot at the end.

    ``error`` says why there are none. ``is_answered`` is False where that is not known, because the question got no answer.
    """

    hosts: tuple[str, ...] = ()
    is_answered: bool = True
    error: str = ""


class Resolver(Protocol):
    """The DNS, as one configured resolver tells it."""

    async def mail_exchangers(self, domain: str) -> MxAnswer:
        """Return the MX records of a domain. Never raises: what goes wrong is evidence."""


class Directory(Protocol):
    """One tenant's directory, as the directory application. All reads raise NotYetError, RefusedError or TransientError."""

    async def organization(self) -> Organization:
        """Return the tenant's own entry."""

    async def domains(self) -> tuple[Domain, ...]:
        """Return all domains, of all pages."""

    async def service_records(self, domain: str) -> tuple[str, ...]:
        """Return the hosts of the MX records that Microsoft expects the domain to have, in lower case; none without e-mail."""

    async def service_plans(self) -> tuple[Mapping[str, Any], ...]:
        """Return the tenant's service plans: ``service``, ``servicePlanId``, ``capabilityStatus`` as Microsoft names them."""

    async def user_count(self) -> int:
        """Return about how many users there are: Microsoft counts in an index that lags behind."""

    async def users(self, link: str = "") -> Page:
        """Return a page of up to 999 whole users: the first, or the one at ``link`` as Microsoft gave it.

        A link that Microsoft no longer knows raises RefusedError with the code ``page_expired``, here and below.
        """

    async def user_changes(self, link: str = "") -> Page:
        """Return a page of what changed since ``link``; of all users where it is empty. Microsoft chooses the page's size."""

    async def group_changes(self, link: str = "") -> Page:
        """Return the same of groups, with their direct members."""

    async def latest_users(self) -> str:
        """Return the link of changes from now on, without reading anything. Raises RefusedError where Microsoft has no such."""

    async def whole_users(self, ids: Sequence[str]) -> Sequence[DirectoryChange]:
        """Return these users whole, in few requests; one that does not exist is told as removed."""

    async def group_users(self, group: str, link: str = "") -> Page:
        """Return a page of the whole users in the group with this address or id, nested groups included.

        Raises RefusedError (``scope_group_unknown``) when there is no such group.
        """

    async def chosen_users(self, names: Sequence[str]) -> Sequence[DirectoryChange]:
        """Return the whole users with these addresses or user principal names; those that do not exist are left out."""


@dataclass(frozen=True, slots=True)
class HeldRole:
    """An active assignment of a directory role for the whole tenant; ``ends_at`` is None where it has no end."""

    ends_at: datetime | None = None
    begins_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RolePolicy:
    """What a tenant's Privileged Identity Management asks of an administrator who assigns a role as active.

    ``maximum_duration`` is ISO 8601 as Microsoft writes it (``P180D``), "" where an assignment may be for good.
    """

    maximum_duration: str = ""
    requires_justification: bool = False
    requires_mfa: bool = False
    requires_ticket: bool = False


@dataclass(frozen=True, slots=True)
class RoleWish:
    """An active assignment as it is asked for. ``duration`` is ISO 8601, "" for good; the ticket may be empty."""

    principal_id: str
    role_template_id: str
    justification: str = ""
    duration: str = ""
    ticket_number: str = ""
    ticket_system: str = ""


@dataclass
class PolicyRefusedError(RefusedError):
    """Raised when rules of the tenant's policy refuse an assignment.

    ``rules`` are Microsoft's names of those that failed: MfaRule, JustificationRule, ExpirationRule, TicketingRule and others.
    """

    rules: frozenset[str] = frozenset()


class Roles(Protocol):
    """One tenant's role assignments, by an administrator's own sign-in (a delegated token) or by an application permission.

    All raise NotYetError (the principal or the permission has not spread yet), RefusedError (not allowed, token expired) or
    TransientError.
    """

    async def policy(self, role_template_id: str) -> RolePolicy | None:
        """Return what Privileged Identity Management asks for the role; None in a tenant that has no licence for it."""

    async def held(self, principal_id: str, role_template_id: str) -> HeldRole | None:
        """Return the principal's active assignment for the whole tenant, the one that ends last; None when it has none."""

    async def assign(self, wish: RoleWish, *, with_pim: bool) -> HeldRole:
        """Assign the role for the whole tenant; an assignment that is there already is success. Never takes anything away.

        ``with_pim``: as an active assignment of Privileged Identity Management. Raises PolicyRefusedError too.
        """

    async def extend(self, wish: RoleWish) -> HeldRole:
        """Move the end of an active assignment of Privileged Identity Management. Raises PolicyRefusedError too."""


class Activity(Protocol):
    """One tenant's Office 365 Management Activity API, as the activity application."""

    async def start(self, content_type: str) -> None:
        """Start a subscription; one that is on already is success.

        Raises NotYetError (the permission has not spread), RefusedError, TransientError.
        """

    async def subscriptions(self) -> frozenset[str]:
        """Return the content types whose subscriptions are enabled. Raises as ``start``."""


class Microsoft(Protocol):
    """Everything that speaks to Microsoft for one run, opened for a tenant and closed with the run."""

    @property
    def sign_in(self) -> SignIn:
        """The identity platform, for people."""

    @property
    def identity(self) -> TenantIdentity:
        """The applications' own tokens."""

    def exchange(self, tenant_id: str) -> Exchange:
        """Return the tenant's Exchange Online, with a new credential."""

    def directory(self, tenant_id: str) -> Directory:
        """Return the tenant's directory, with a new credential."""

    def roles(self, tenant_id: str, access_token: str = "", *, application: str = "") -> Roles:
        """Return the tenant's role assignments, by this delegated token or, without one, as ``application`` itself."""

    def activity(self, tenant_id: str) -> Activity:
        """Return the tenant's activity data, with a new credential."""

    async def close(self) -> None:
        """Close every connection and credential."""
