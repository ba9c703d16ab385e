"""What the terminal says of a grant's steps, a line a change."""

from typing import Any

import pytest
from rich.console import Console

from local.show import LiveGrant

STEP: dict[str, Any] = {"reason": "", "until": None, "progress": {}, "progress_text": "", "facts": {}}
SYNC = {**STEP, "name": "directory_sync", "title": "Sync domains, users and groups"}
READING = {"progress": {"users": 12_000, "of": 100_000}, "progress_text": "12,000 of 100,000 users, about 2 minutes left"}


def lines(capsys: pytest.CaptureFixture[str], *steps: dict[str, Any]) -> list[str]:
    """Return what is written when a grant is shown with one step as it changes."""
    with LiveGrant(5) as live:
        for step in steps:
            live.show({"account_name": "Contoso", "steps": [step]})
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (
            {"state": "running", **READING},
            "running              Sync domains, users and groups - 12,000 of 100,000 users, about 2 minutes left",
        ),
        ({"state": "done", "facts": {"users": 100_011}}, "done                 Sync domains, users and groups - 100,011 users"),
        (
            {
                "state": "waiting",
                "reason": "It is busy",
                "until": "2026-11-24T09:36:12.000Z",
                "progress_text": "12,000 of 100,000 users",
            },
            "waiting              Sync domains, users and groups - It is busy, until 09:36:12 UTC - 12,000 of 100,000 users",
        ),
        ({"state": "queued"}, "queued               Sync domains, users and groups"),
    ],
)
def test_a_sync_tells_how_far_it_is(capsys: pytest.CaptureFixture[str], step: dict[str, Any], told: str) -> None:
    """In the words of the console; when it is done, what it has brought."""
    assert lines(capsys, {**SYNC, **step}) == [told]


def test_what_looks_again_by_itself_tells_when(capsys: pytest.CaptureFixture[str]) -> None:
    """The daily sync of a new grant is done before its first time: its next moment says so."""
    daily = {**SYNC, "name": "daily_sync", "title": "Keep in sync", "state": "done", "until": "2026-11-24T09:36:12.000Z"}

    assert lines(capsys, daily) == ["done                 Keep in sync - next at 09:36:12 UTC"]


def test_only_a_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A grant is looked at several times a second."""
    running = {**SYNC, "state": "running", **READING}

    assert len(lines(capsys, running, running, {**running, "progress_text": "more"})) == 2


@pytest.mark.parametrize(("of", "filled"), [(100_000, 0.12), (None, 1.0)])
def test_the_bar_is_as_long_as_the_tenant_is_large(of: int | None, filled: float) -> None:
    """By Microsoft's own count where it is known, else by what the demo was told to make."""
    step = {**SYNC, "state": "running", **READING, "progress": {"users": 12_000, "of": of}}
    console = Console(width=80, force_terminal=True, color_system="truecolor")
    with console.capture() as shown:
        console.print(LiveGrant(5)._drawn({"account_name": "Contoso", "steps": [step]}))
    bar = shown.get().splitlines()[-1]

    drawn = [part for part in bar.split("\x1b[") if "━" in part or "╸" in part]
    assert round(drawn[0].count("━") / 40, 1) == round(filled, 1)
