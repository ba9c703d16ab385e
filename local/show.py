"""How the terminal shows a grant: live while it goes on, then its receipt."""

import sys
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

STYLES = {"done": "green", "needs_attention": "red", "waiting": "yellow", "waiting_for_person": "yellow", "blocked": "dim"}
SYNCS = ("directory_sync", "daily_sync")
"""The steps that bring users."""


class LiveGrant:
    """Shows each step with its state; redraws in a terminal, writes a line a change elsewhere (standard error)."""

    def __init__(self, users: int) -> None:
        """Draw the sync's progress bar against ``users``."""
        self.console = Console(file=sys.stderr)
        self._users = users
        self._said: dict[str, str] = {}
        self._live = Live(console=self.console, refresh_per_second=8) if self.console.is_terminal else None

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        if self._live:
            self._live.stop()

    def show(self, grant: Mapping[str, Any]) -> None:
        """Show the grant as it is now."""
        if self._live:
            self._live.update(self._drawn(grant))
            return
        for step in grant["steps"]:
            line = f"{step['state'].replace('_', ' '):20} {step['title']}{self._detail(step)}"
            if step["state"] != "blocked" and self._said.get(step["name"]) != line:
                self._said[step["name"]] = line
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _drawn(self, grant: Mapping[str, Any]) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for step in grant["steps"]:
            state = Text(step["state"].replace("_", " "), style=STYLES.get(step["state"], "cyan"))
            table.add_row(state, f"{step['title']}{self._detail(step)}")
        progress = _sync(grant)["progress"]
        total = progress.get("of") or max(self._users, 1)
        bar = ProgressBar(total=total, completed=min(int(progress.get("users", 0)), total), width=40)
        return Group(Text(f"Grant Access to Exchange Online (Inline Mode): {grant['account_name']}", style="bold"), table, bar)

    def _detail(self, step: Mapping[str, Any]) -> str:
        """Return what there is to say of a step: why it waits, how far it is, what it has brought, and until when."""
        reason = step["reason"] if step["state"] in ("waiting", "needs_attention") else ""
        until = f"{step['until'][11:19]} UTC" if step["until"] else ""
        said = [f"{reason}, until {until}" if reason and until else reason, step["progress_text"]]
        if step["state"] == "done":
            synced = step["facts"].get("users") if step["name"] in SYNCS else None
            said = [f"{synced:,} users" if synced is not None else "", f"next at {until}" if until else ""]
        return "".join(f" - {part}" for part in said if part)


def _sync(grant: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(step for step in grant["steps"] if step["name"] == "directory_sync")
    return found


def print_receipt(receipt: Mapping[str, Any], console: Console) -> None:
    """Print a receipt for people."""
    console.print()
    console.print(receipt["message"] or "The grant is not complete.", style="bold green", highlight=False)
    facts = Table.grid(padding=(0, 2))
    account = receipt["service_account"] or {}
    facts.add_row("Tenant", f"{receipt['tenant_name']} ({receipt['tenant_id']})")
    facts.add_row("Service account", f"{account.get('service', '')}: {', '.join(account.get('directions', ()))}")
    facts.add_row("Policy", str(receipt["policy"]))
    facts.add_row("Role", f"{receipt['role']['mode'].replace('_', ' ')}: {receipt['role']['end']}")
    facts.add_row("Users synced", f"{receipt['users_synced']:,}")
    console.print(facts)
    objects = Table("Object", "Name", title="Made in the tenant", title_justify="left")
    for item in receipt["objects"]:
        objects.add_row(item["kind"].replace("_", " "), item["name"])
    console.print(objects)
    steps = Table("Step", "State", "Seconds", "Waits", title="Steps", title_justify="left")
    for step in receipt["steps"]:
        waits = "; ".join(f"{wait['count']} x {wait['why']} ({wait['seconds']} s)" for wait in step["waits"])
        steps.add_row(step["name"], step["state"], str(step["seconds"]), waits)
    console.print(steps)
