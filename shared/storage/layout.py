"""The layout of the tables, as data: what is created at the start, and what ``docs/tables.md`` shows."""

from dataclasses import dataclass

from shared.storage.records import ACCOUNT, BEGUN, BINDING, COUNT, DIRECTORY, DOMAIN, EVENT, GRANT, GROUP, LETTER, MEMBER, USER

VALUE = ("version", "value")
"""The columns of a row that holds one JSON value; a long one goes on in value_1, value_2, …"""


SHARD = "{tenant id}|{generation:06}|{shard:03}"
"""The partition key of one shard of a generation of a tenant's directory."""


@dataclass(frozen=True, slots=True)
class RowLayout:
    """One kind of row: its keys, its columns and what it is for."""

    partition: str
    row: str
    columns: tuple[str, ...]
    purpose: str


@dataclass(frozen=True, slots=True)
class TableLayout:
    """One table."""

    name: str
    purpose: str
    rows: tuple[RowLayout, ...]


TABLES = (
    TableLayout(
        "grants",
        "The truth. One partition a grant, changed by transactions on the ETag of its grant row.",
        (
            RowLayout("{grant id}", "grant", GRANT.names, "the grant; `intent` and `steps` are JSON, `steps` below 30 KB"),
            RowLayout("{grant id}", "event|{seq:010}", EVENT.names, "audit event and outbox; insert-only; `data` is JSON"),
            RowLayout("{grant id}", "start", VALUE, "made with the grant; alone, it keeps a forgotten start from being saved"),
            RowLayout("{grant id}", "command|{id}", VALUE, "a command that counts; its creation is its de-duplication"),
            RowLayout("{grant id}", "consent|{sha256(state)}", VALUE, "a redirect that is awaited; consumed by its transition"),
            RowLayout("{grant id}", "spent|{sha256(state)}", VALUE, "its code was sent to Microsoft; insert-only"),
            RowLayout("{grant id}", "refused|{step}", VALUE, "which refusals of redirects were written down last, and when"),
            RowLayout(
                "{grant id}", "sealed|role_assignment", VALUE, "the administrator's sealed sign-in, deleted by the outcome"
            ),
            RowLayout("{grant id}", "onboarding", VALUE, "the newest onboarding link: id, expiry, sender; no token"),
            RowLayout("{grant id}", "link_used|{link id}", VALUE, "which browser used the link, hashed; written once"),
            RowLayout("{grant id}", "plan|{number:04}", VALUE, "a plan as it was shown, and when it was carried out"),
            RowLayout("{grant id}", "probe|{probe id}", VALUE, "what the scanner said of a test message"),
            RowLayout("{grant id}", "proof", VALUE, "the last test messages, with what each has come to"),
            RowLayout("{grant id}", "removal", VALUE, "how the tenant stands against what it was, or what is left in it"),
            RowLayout("{grant id}", "scanner", VALUE, "what the scanner said last of its queue and quarantine"),
            RowLayout("{grant id}", "snapshot|{object}|{property}", VALUE, "a former value in the tenant; insert-only"),
            RowLayout("{grant id}", "written|{object}|{property}", VALUE, "what we gave somebody else's object; last one wins"),
            RowLayout("{grant id}", "change|{object}", VALUE, "what the last change of the object in the tenant came to"),
            RowLayout("{grant id}", "sync|{collection}", VALUE, "where a sync goes on"),
            RowLayout("{grant id}", "progress|{step}", VALUE, "how far a running step is, for people"),
        ),
    ),
    TableLayout(
        "bindings",
        "One tenant has at most one account; one account has one live grant for a service.",
        (
            RowLayout("tenant|{tenant id}", "binding", BINDING.names, "who has the tenant: reserved, then confirmed"),
            RowLayout("account|{id}", "service|exchange-online-inline", ("version", "grant_id"), "the live grant"),
        ),
    ),
    TableLayout(
        "due",
        "When the sweep must look at which grant. One partition, sorted by time; one live row a grant.",
        (RowLayout("due", "{yyyyMMddTHHmmZ}|{grant id}", ("version",), "the minute is rounded up"),),
    ),
    TableLayout(
        "accounts",
        "The console's lists, sorted by name: a projection of the grants.",
        (
            RowLayout("all", "{casefolded name}|{account id}", ACCOUNT.names, "every account"),
            RowLayout("state|{state}", "{casefolded name}|{account id}", ACCOUNT.names, "the accounts in one state"),
            RowLayout(
                "service-account", "{casefolded name}|{account id}", ACCOUNT.names, "the accounts of grants once completed"
            ),
            RowLayout("account|{account id}", "current", ACCOUNT.names, "the account's newest row, which its lists follow"),
            RowLayout("counts", "current", VALUE, "how many accounts are in each state, and when a timer counted them"),
        ),
    ),
    TableLayout(
        "deadletters",
        "Messages that could not be read or kept failing, whole.",
        (RowLayout("{yyyyMMdd}", "{yyyyMMddTHHmmss.ffffffZ}|{id}", LETTER.names, "`body` is JSON text, in parts when long"),),
    ),
    TableLayout(
        "directory",
        """The users, groups and domains of tenants. A sync fills a generation, spread over shards; then `current` names it.

To look up a recipient, read `current` (keep it for at most 5 minutes) and then one row: `address|{address}`, case-folded, in the
shard that is the CRC-32 of the row key in UTF-8, before anything in it is percent-encoded, modulo `shards`. Users and groups are
found by the same rule; a group's members are in its shard. Members are direct ones: whoever wants those of nested groups, too,
goes on with each member whose `kind` is `group`, and never twice with the same one.

- During a first sync or a resync readers see the former generation or the new one, each whole.
- A former generation stays for at least 15 minutes after a new one became current; then a daily sync deletes it.
- A removal deletes `current`, then all else of the tenant but `begun`: whoever finds no `current` takes nobody for protected.
- Where a grant's scope is a group or chosen people, those users alone are stored, and no groups.
- Increments change the rows of the current generation in place, one transaction after another: an address that moves from one
  user to another in one page of changes always leads to one of them.
- Each transaction of records inserts the next `count|{number}`, so the last one is exact, and of two writers one stops.""",
        (
            RowLayout(
                "{tenant id}",
                "current",
                DIRECTORY.names,
                "which generation readers read; `links` (where the next changes are), `counts` and `former` are JSON",
            ),
            RowLayout("{tenant id}", "begun", BEGUN.names, "generations that were begun since; JSON. No number is used twice"),
            RowLayout("{tenant id}", "domain|{name}", DOMAIN.names, "a domain; `mail_exchangers` is JSON"),
            RowLayout(SHARD, "user|{id}", USER.names, "a user; `smtp_addresses` is JSON, the primary one first"),
            RowLayout(SHARD, "group|{id}", GROUP.names, "a group; `group_types` is JSON"),
            RowLayout(SHARD, "member|{group id}|{id}", MEMBER.names, "a direct member of a group; `kind` is its type in Graph"),
            RowLayout(SHARD, "address|{address}", USER.names, "the user who has the address"),
            RowLayout(SHARD, "count|{number:06}", COUNT.names, "how many users and groups the shard held after that transaction"),
            RowLayout(SHARD, "count", COUNT.names, "a late count: newer ones have the numbers that follow"),
        ),
    ),
)
"""Every table, with every kind of row."""


def markdown() -> str:
    """Return the layout as ``docs/tables.md`` shows it."""
    return _INTRODUCTION + "".join(map(_section, TABLES))


def _section(table: TableLayout) -> str:
    head = "| partition key | row key | columns | what it is |\n|---|---|---|---|\n"
    return f"\n## `{table.name}`\n\n{table.purpose}\n\n{head}{''.join(map(_line, table.rows))}"


def _line(row: RowLayout) -> str:
    partition, key = (f"`{name}`".replace("|", "\\|") for name in (row.partition, row.row))
    return f"| {partition} | {key} | {', '.join(row.columns)} | {row.purpose} |\n"


_INTRODUCTION = """# Tables

<!-- Generated from shared/storage/layout.py; `python -m shared.storage.layout` prints it and a test compares. -->

Azure Table storage, one account, six tables. Grantline creates those that are missing when it starts.

- Keys: `/ \\ # ? %` and control characters are percent-encoded (Table storage forbids all of these but `%`).
- Every row carries `version`, the version of its shape. Code that meets a newer version refuses the row and says so;
  a field that a newer release adds with a default needs no new version.
- Moments are ISO 8601 text in UTC. Small structures are JSON text. A text that is too long for one property
  (30,000 characters) goes on in `name_1`, `name_2`, …
- A transaction changes one partition: at most 100 rows and 4 MiB, refused before it is sent when it is larger.
- A transaction whose answer is lost counts as a conflict: it may have been carried out, so the grant is read again.
"""

if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
