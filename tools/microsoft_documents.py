"""Makes docs/permissions.md from the catalogue of permissions, and docs/errors.md from the tables of refusals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shared.domain.problems import CATALOGUE
from shared.microsoft.permissions import (
    RESOURCE_NAMES,
    SIGN_IN_SCOPES,
    Application,
    Permission,
    calls_of,
    catalogue,
)
from shared.microsoft.refusals import PIM_STATUS, POLICY_RULES, TABLES, Reaction, Rule

PERMISSIONS_HEAD = """# Permissions

Everything that Grantline asks of a tenant, and every call that it makes there. Made by `make docs` from `shared/microsoft/permissions.py`, from
which the app registrations are written too (`tools/registrations.py`); tests hold the calls of the code against it
(`tests/contract/test_least_privilege.py`) and its ids and least permissions against Microsoft's own data (`tests/contract/test_registrations.py`).

- Each registration has one purpose, because `.default` consents to all that a registration lists.
- A **consumer** is who makes the calls that a permission is for. The product's calls are not Grantline's: its permissions are settings.
- An **optional** permission is listed only where the operator wants it. No step waits for it, and nothing breaks without it.
- What an application was granted (`roles`) and which directory roles it has (`wids`) stand in its own tokens: reading that needs no permission.
- Signing people in, consent and tokens are no calls of an API: they need the scopes at the end, and no application permission.
"""

ERRORS_HEAD = """# Errors of Microsoft

What Grantline makes of each refusal that it knows, from `shared/microsoft/refusals.py` (made by `make docs`). Where several rules match, the order
of their table there decides. What no rule knows ends as the last row of its place says, with Microsoft's own text and its correlation id on the
problem's page: Microsoft asks not to depend on its texts and numbers, so nothing is guessed.

**Again by itself** is what passes without a person: the step is tried again with growing pauses, and Microsoft's `Retry-After` is kept. A problem
waits for the one whom it names, and is tried again when that person says so.
"""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a registration is for, who consents to it, and how long the consent is needed."""

    title: str
    what: str
    who: str
    until: str


_ADMINISTRATORS = "a Global Administrator or Privileged Role Administrator of the tenant"
PURPOSES: Mapping[Application, Purpose] = {
    Application.MAIL_FLOW: Purpose(
        "Mail flow",
        "connectors, rules and settings of Exchange Online",
        f"{_ADMINISTRATORS}; where the role is assigned by hand, a (Cloud) Application Administrator too",
        "for as long as the mail flow is managed",
    ),
    Application.DIRECTORY: Purpose(
        "Directory",
        "users, groups and domains; the product's mailboxes",
        _ADMINISTRATORS,
        "for as long as users are synced",
    ),
    Application.ROLE_HELPER: Purpose(
        "Role helper",
        "the one role assignment, as the administrator who signs in",
        _ADMINISTRATORS,
        "during that sign-in; the delegated grant stays in the tenant until somebody removes it, and allows nothing without a sign-in",
    ),
    Application.ACTIVITY: Purpose(
        "Activity (an installation may be without it)",
        "the tenant's audit log",
        _ADMINISTRATORS,
        "for as long as the product reads activity data",
    ),
    Application.ROLE_ASSIGNER: Purpose(
        "Role assigner (an installation may be without it)",
        "the role assignment without a person's sign-in",
        _ADMINISTRATORS,
        "while the role is assigned and extended; a standing right, so only where the operator and the tenant want it",
    ),
}

REACTIONS: Mapping[Reaction, tuple[str, str, str]] = {
    Reaction.TRANSIENT: ("Microsoft is busy, or two changes met.", "Nothing.", "yes"),
    Reaction.EXPIRED_PAGE: ("A page of a collection is gone.", "Nothing: the collection is read from its beginning.", "yes"),
    Reaction.NOT_YET: (
        "What was just granted has not spread yet, or was never granted.",
        "Nothing at first; when the step's patience ends, the consent or the role is asked for again.",
        "yes",
    ),
    Reaction.NOT_FOUND: ("What the request names is not there.", "Nothing: the step knows what to do without it.", "no need"),
    Reaction.ALREADY: ("What was asked for is there already: success.", "Nothing.", "no need"),
    Reaction.UNLICENSED: (
        "The tenant has no Privileged Identity Management.",
        "Nothing: the role is assigned without it.",
        "no need",
    ),
    Reaction.POLICY: ("Rules of the tenant's policy for the role refuse; see below.", "As the rule wants it, see below.", "no"),
}
"""What each reaction means, what people do about it, and whether it is tried again by itself."""


def permissions() -> str:
    """Return docs/permissions.md."""
    return "".join((PERMISSIONS_HEAD, *map(_registration, Application), *_scopes()))


def _registration(application: Application) -> str:
    purpose = PURPOSES[application]
    entries = [
        entry
        for choice in ("Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite")
        for entry in catalogue(choice, role_watch=True)
        if entry.application is application
    ]
    rows = "".join(map(_permission, dict.fromkeys(entries)))
    return (
        f"\n## {purpose.title}\n\n`{application}`: {purpose.what}. Consent by {purpose.who}; needed {purpose.until}.\n\n"
        f"| permission | kind | consumer | reason | risk | calls | source |\n|---|---|---|---|---|---|---|\n{rows}"
    )


def _permission(entry: Permission) -> str:
    calls = calls_of(entry)
    kind = f"{'delegated' if entry.delegated else 'application'}{', optional' if entry.optional else ''}"
    made = "<br>".join(f"`{call.method} {call.path}`" for call in calls) or "none of Grantline's"
    sources = (
        "<br>".join(dict.fromkeys(call.source for call in calls))
        or "a setting: GRANTLINE_MAILBOX_PERMISSION, one of these or none"
    )
    name = f"`{entry.name}`<br>of {RESOURCE_NAMES[entry.resource]}"
    return f"| {name} | {kind} | {entry.consumer} | {entry.reason} | {entry.risk} | {made} | {sources} |\n"


def _scopes() -> Iterator[str]:
    yield "\n## Signing in\n\nEvery sign-in asks for these scopes of OpenID Connect; whatever else it asks for is a permission above.\n\n"
    yield "| scope | reason | risk | source |\n|---|---|---|---|\n"
    for scope in SIGN_IN_SCOPES:
        yield f"| `{scope.name}` | {scope.reason} | {scope.risk} | {scope.source} |\n"


def errors() -> str:
    """Return docs/errors.md."""
    services = dict.fromkeys(service for service, _ in TABLES)
    return "".join((ERRORS_HEAD, *map(_service, services), *_role_rules()))


def _service(service: str) -> str:
    """Return the rules of a service, each once, with the places that it counts in."""
    places: dict[Rule, list[str]] = {}
    for (answering, place), rules in TABLES.items():
        for rule in rules if answering == service else ():
            places.setdefault(rule, []).append(place)
    ordered = sorted(places, key=lambda rule: not rule.pattern)
    rows = "".join(_rule(rule, places[rule]) for rule in ordered)
    head = "| answer | where | code | meaning | who | how | again by itself | source |\n|---|---|---|---|---|---|---|---|\n"
    return f"\n## {service}\n\n{head}{rows}"


def _rule(rule: Rule, places: list[str]) -> str:
    names = ", ".join(f"`{name}`" for name in rule.names) or "anything else"
    return f"| {names} | {'; '.join(places)} | {_meaning(rule.meaning)} | {rule.source or '-'} |\n"


def _meaning(meaning: Reaction | str) -> str:
    """Return the cells about what is meant: code, meaning, who, how, again by itself."""
    if isinstance(meaning, Reaction):
        what, how, again = REACTIONS[meaning]
        return f"- | {what} | {'-' if meaning is Reaction.POLICY else 'nobody'} | {how} | {again}"
    kind = CATALOGUE[meaning]
    return f"`{meaning}` | {kind.cause} | {kind.who.replace('_', ' ')} | {kind.fix} | no"


def _role_rules() -> Iterator[str]:
    head = "| code | meaning | who | how | again by itself |\n|---|---|---|---|---|\n"
    yield "\n## Rules of a role's policy\n\nThe names that stand in `RoleAssignmentRequestPolicyValidationFailed`.\n\n"
    yield f"| rules {head}".replace("\n|", "\n|---|", 1)
    for rules, code in POLICY_RULES.items():
        yield f"| `{', '.join(sorted(rules))}` alone | {_meaning(code)} |\n"
    yield f"| any other, or several | {_meaning('role_by_hand')} |\n"
    yield "\n## States of a request for a role\n\nAnswered with 201, and yet nothing is assigned; every other state assigns.\n\n"
    yield f"| state {head}".replace("\n|", "\n|---|", 1)
    for status, code in PIM_STATUS.items():
        yield f"| `{status}` | {_meaning(code)} |\n"
