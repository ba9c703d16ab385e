"""The console's templates (Jinja2), and the words and moments that they write."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from shared.domain import schedule

TEMPLATES = Path(__file__).parents[2] / "console" / "templates"
WORDS: Mapping[str, str] = {
    "not_granted": "Not granted",
    "waiting_for_person": "Waiting for a person",
    "in_progress": "In progress",
    "needs_attention": "Needs attention",
    "completed": "Granted",
    "protecting": "Protecting",
    "paused": "Paused",
    "removing": "Being removed",
    "removed": "Removed",
    "released": "Released",
    "awaits_approval": "Waits for an approval",
    "unsafe": "Not carried out",
    "passed": "Passed",
    "failed": "Failed",
    "open": "Not known yet",
    "normal": "An ordinary message",
    "alias": "To another address of a mailbox",
    "spoofed": "One that pretends to come from inside",
    "forged_header": "A forged verdict",
    "looped": "A message that goes in circles",
    "blocking": "Stops the grant",
    "acknowledge": "To be acknowledged",
    "notice": "To be known",
    "not_checked": "Not checked",
    "fix_asked": "An operator has asked for the fix.",
    "acknowledged": "An operator knows it, and wants to go on.",
    "scanner_queue": "the scanner's report",
    "message_trace": "what message trace shows",
    "leftovers": "what is left in the tenant",
    "blocked": "Not started",
    "queued": "Queued",
    "running": "Running",
    "waiting": "Waiting",
    "done": "Done",
    "tenant_administrator": "an administrator of the tenant",
    "operator": "an operator of the console",
    "grantline": "nobody: it is done without a person",
    "inbound": "Inbound",
    "outbound": "Outbound",
    "all_domains": "All accepted domains",
    "domains": "Chosen domains",
    "group": "Members of a group",
    "users": "Selected people",
    "sign_in": "By the administrator's sign-in",
    "application": "By an application permission",
    "by_hand": "By hand in the Microsoft Entra admin center",
    "role_group": "By an Exchange role group",
    "mail_flow": "Mail-flow application",
    "directory": "Directory application",
    "activity": "Activity application",
    "role_helper": "Role helper",
    "role_assigner": "Role assigner",
    "inbound_connector": "Inbound connector",
    "outbound_connector": "Outbound connector",
    "distribution_group": "Distribution group",
    "transport_rule": "Transport rule",
    "uncovered_domains": "Domains not protected",
    "hidden_groups": "Groups hide their members",
    "unknown_users": "Unknown users in the scope",
    "exchange-online-inline": "Exchange Online (Inline Mode)",
}
"""How states, people, scopes and kinds are called on the screen."""
ONE_LINE = str.maketrans(dict.fromkeys("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f", ""))
"""Takes the marks out of a name that would turn the text around it (Unicode Standard Annex 9), where no markup can isolate it."""


def words(value: str) -> str:
    """Return what people call a state, a kind or a mode; what has no name of its own, in plain letters."""
    return WORDS.get(value, value.replace("_", " ").capitalize())


def moment(at: datetime | str | None) -> str:
    """Return a moment for people, in UTC to the second; "" for none."""
    if not at:
        return ""
    known = schedule.parse(at) if isinstance(at, str) else at
    return f"{known:%b} {known.day}, {known:%Y, %H:%M:%S} UTC"


def seconds(value: float | None) -> str:
    """Return a duration for people."""
    if value is None:
        return ""
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{value:g} s"


def shown(value: Any) -> str:
    """Return a value of a setting for people: lists without brackets, what is empty as a dash."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {shown(each)}" for name, each in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "-"
    return "-" if value in (None, "") else str(value)


def sentence(text: str) -> str:
    """Return words with a capital letter at their beginning, all others as they are."""
    return text[:1].upper() + text[1:]


def plain(name: str) -> str:
    """Return a name for a title or an attribute, where its direction can't be isolated."""
    return name.translate(ONE_LINE)


@cache
def environment() -> Any:
    """Return the templates; what is not defined is an error, and all text is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - queue functions need no templates

    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters |= {"words": words, "moment": moment, "seconds": seconds, "plain": plain, "shown": shown, "sentence": sentence}
    return found
