"""The local commands: ``up`` (everything, until Ctrl-C) and ``demo`` (a whole grant without hands)."""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from local import demo
from local.azurite import AzuriteError
from local.browser import BrowserError
from local.ports import NoPortError
from local.show import LiveGrant, print_receipt
from local.stack import PROJECT, Options, Stack, StackError, up

DEMO_TENANT = ("--consent-delay", "2", "--role-delay", "5")
"""The demo's tenant: a consent that takes 2 s to spread, a role that takes 5 s."""
STEP_NAMES = (
    "mail_flow_consent",
    "role_assignment",
    "directory_consent",
    "directory_sync",
    "preflight",
    "mail_flow",
    "verification",
    "policy_activation",
)


def main() -> int:
    """Run the command of the command line and return its exit code."""
    arguments = _parser().parse_args()
    try:
        return int(asyncio.run(arguments.command(arguments)))
    except (StackError, AzuriteError, NoPortError, demo.DemoError, BrowserError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(required=True)
    up_parser = commands.add_parser("up", help="start everything and run until Ctrl-C")
    up_parser.set_defaults(command=_up)
    up_parser.add_argument("--data", type=Path, default=PROJECT / ".grantline" / "run", help="what is kept between runs")
    demo_parser = commands.add_parser("demo", help="grant a simulated tenant's access without hands")
    demo_parser.set_defaults(command=_demo)
    demo_parser.add_argument("--data", type=Path, help="keep the data there (default: a folder that is removed)")
    demo_parser.add_argument("--kill-host-at", choices=STEP_NAMES, default="", help="SIGKILL the host in this step")
    demo_parser.add_argument("--patience", type=float, default=60, help="seconds without progress that end the demo")
    for command in (up_parser, demo_parser):
        command.add_argument("--json", action="store_true", help="the last line of standard output is one JSON object")
        command.add_argument("--users", type=int, default=1000, help="users of the simulated tenant")
        command.add_argument("--app", type=Path, default=PROJECT, help=argparse.SUPPRESS)
    return parser


async def _up(arguments: argparse.Namespace) -> int:
    stack = await up(Options(arguments.data.resolve(), arguments.users, arguments.app))
    try:
        _tell_ready(stack, as_json=arguments.json)
        await _until_ended(stack)
    finally:
        await stack.stop()
    return 0


def _tell_ready(stack: Stack, *, as_json: bool) -> None:
    if as_json:
        facts = {
            "console": stack.console,
            "tenant": stack.tenant["url"],
            "ca_file": stack.tenant["ca_file"],
            "storage": stack.storage.connection_string,
            "account": demo.ACCOUNT_ID,
            "pids": stack.pids,
        }
        print(json.dumps(facts), flush=True)
        return
    person = stack.administrator
    print(
        f"""
Grantline is running (embedded functions host, Azurite, simulated tenant).

  Console            {stack.console}
  Simulated tenant   {stack.tenant["url"]}  (its throw-away authority: {stack.tenant["ca_file"]})
  Sign in there as   {person["user_principal_name"]}
  Password           {person["password"]}

Press Ctrl-C to end it.""",
        flush=True,
    )


async def _until_ended(stack: Stack) -> None:
    """Wait for Ctrl-C or SIGTERM, or for a part that ends by itself. Raises StackError then."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    stop = asyncio.create_task(ended.wait())
    parts: dict[asyncio.Task[Any], str] = {asyncio.create_task(process.wait()): name for name, process in stack.processes.items()}
    if stack.scanner:
        parts[stack.scanner] = "scanner"
    done, pending = await asyncio.wait({stop, *parts}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    died = [parts[task] for task in done if task in parts]
    if died and stop not in done:
        raise StackError(f"the {died[0]} ended by itself; its log is in {stack.options.data}")


async def _demo(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="grantline-demo-") as folder:
        data = (arguments.data or Path(folder)).resolve()
        console = Console(file=sys.stderr if arguments.json else sys.stdout)
        console.print("Starting storage, the simulated tenant and the functions host ...", highlight=False)
        stack = await up(Options(data, arguments.users, arguments.app.resolve(), DEMO_TENANT))
        try:
            plan = demo.Plan(patience=arguments.patience, kill_host_at=arguments.kill_host_at)
            with LiveGrant(arguments.users) as live:
                receipt = await demo.run(stack.local, plan, live.show)
        finally:
            await stack.stop()
    print_receipt(receipt, console)
    if arguments.json:
        print(json.dumps(receipt))
    return 0


if __name__ == "__main__":
    sys.exit(main())
