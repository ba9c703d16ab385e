"""The functions host killed in the middle of a step: the sweep finishes the same grant, and the tenant ends the same.

Each takes as long as a lease: `make test-kill` runs them, `make test` does not.
"""

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from local import demo
from local.stack import Options, Stack
from shared.domain.grant import SUCCESS_MESSAGE
from shared.mailflow.verdict import verdict_secret
from shared.settings import load
from tests.support.app_settings import APP_SETTINGS
from tests.support.stacks import control, quietly, running

STEPS = ("directory_sync", "mail_flow", "policy_activation")
LIMIT_SECONDS = 180


async def grant(folder: Path, kill_host_at: str) -> tuple[Any, float, Any]:
    """Return the receipt of a grant, how long it took after the restart, and the tenant's state."""
    restarted: list[float] = []

    async with running(Options(folder, users=300, tenant=("--role-delay", "5"))) as stack:
        local = stack.local

        async def crash() -> None:
            await local.crash_host()
            restarted.append(time.monotonic())

        watched = demo.Local(local.console, local.tenant, local.ca_file, local.administrator, local.master_key, crash)
        receipt = await demo.run(watched, demo.Plan(kill_host_at=kill_host_at), quietly)
        seconds = time.monotonic() - restarted[0] if restarted else 0.0
        return receipt, seconds, await normalized_state(stack, receipt["grant_id"])


async def normalized_state(stack: Stack, grant_id: str) -> Any:
    """Return the tenant's state without times and ids, and without what each grant has of its own: its id and its secret."""
    key = load({**APP_SETTINGS, **stack.environment}).sealing_key
    own = {grant_id: "the grant's id", verdict_secret(key, grant_id): "the grant's secret"}
    labels = "".join(f"&replace={quote(f'{text}={label}')}" for text, label in own.items())
    return await control(stack, f"state?normalized=true{labels}")


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_killed_host_changes_only_latency(tmp_path: Path) -> None:
    """Three steps, killed side by side, and one grant undisturbed."""
    undisturbed, *killed = await asyncio.gather(*(grant(tmp_path / (step or "none"), step) for step in ("", *STEPS)))

    for step, (receipt, seconds, state) in zip(STEPS, killed, strict=True):
        assert receipt["message"] == SUCCESS_MESSAGE, step
        assert 0 < seconds < LIMIT_SECONDS, step
        assert state == undisturbed[2], step
