"""Each rule of docs/mail-flow-rules.md has a test that fails when it is broken: most of them break our own objects here."""

import ast
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shared.mailflow import plan as planning
from shared.mailflow.desired import DesiredObject, Request, Routing, desired_objects
from shared.mailflow.diff import changes
from shared.mailflow.kinds import Kind
from shared.mailflow.plan import make_plan
from shared.mailflow.route.findings import UNSAFE, Harm, examine
from shared.mailflow.route.foresee import foresee
from shared.mailflow.route.samples import samples_of
from shared.mailflow.route.situation import Situation
from tests.mailflow.mutations import MUTATIONS, Mutation
from tests.unit.mailflow.requests import request
from tests.unit.mailflow.tenants import tenant

PROJECT = Path(__file__).parents[2]
RULES = (PROJECT / "docs" / "mail-flow-rules.md").read_text()
WANTED = request()


def _broken(mutation: Mutation, ignoring: bool) -> Sequence[DesiredObject]:
    desired = mutation.applied(WANTED, desired_objects(WANTED))
    if not ignoring:
        return desired
    return [
        replace(item, parameters={**item.parameters, "RuleErrorAction": "Ignore"}) if item.kind is Kind.TRANSPORT_RULE else item
        for item in desired
    ]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.id for each in MUTATIONS])
def test_what_breaks_a_rule_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan names the harm to the very message that suffers it, and is unsafe where that harm is grave."""

    def broken(wanted: Request) -> Sequence[DesiredObject]:
        state = {item.name: item for item in desired_objects(wanted)}
        return [
            replace(item, parameters={**item.parameters, "Enabled": state[item.name].parameters["Enabled"]})
            if item.routes
            else item
            for item in _broken(mutation, mutation.id == "ignored-error")
        ]

    monkeypatch.setattr(planning, "desired_objects", broken)
    found = make_plan(WANTED, tenant(TransportRule=[]))

    assert (mutation.harm, mutation.sample) in {(each.harm, each.sample) for each in found.findings if not each.is_open}
    assert found.is_safe is (mutation.harm not in UNSAFE)


def test_what_is_not_broken_is_safe() -> None:
    """The objects as they are do none of these harms: the mutations do not find what is always there."""
    found = make_plan(WANTED, tenant(TransportRule=[]))

    assert [each for each in found.findings if not each.is_open] == []


def test_an_error_that_defers_loses_nothing_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Defer the same connector that is off keeps mail waiting, which the plan tells as a loss, not as a bypass."""
    mutation = next(each for each in MUTATIONS if each.id == "ignored-error")
    monkeypatch.setattr(planning, "desired_objects", lambda wanted: mutation.applied(wanted, desired_objects(wanted)))
    harms = {each.harm for each in make_plan(WANTED, tenant(TransportRule=[])).findings if each.sample == "from outside"}

    assert Harm.LOSS in harms


def test_routing_without_a_way_back_is_found() -> None:
    """A state in which the routing is on and the return connectors are missing loses what is routed out."""
    first, on = tenant(TransportRule=[]), replace(WANTED, routing=Routing.ON)
    pending = [each for each in changes(desired_objects(on), first, on.grant_id) if each.cmdlet != "New-InboundConnector"]
    state = foresee(first, pending)
    routes = examine(samples_of(on, "contoso.com"), Situation(on, first), Situation(on, state), is_on=False)

    assert (Harm.LOSS, "to outside") in {(each.harm, each.sample) for route in routes for each in route.findings}


def _tests_named() -> set[str]:
    return set(re.findall(r"`(tests/[\w/]+\.py::\w+)(?:\[[\w-]+\])?`", RULES))


def test_every_named_test_exists() -> None:
    """The table names tests that are there."""
    missing = []
    for name in sorted(_tests_named()):
        path, _, function = name.partition("::")
        nodes = ast.walk(ast.parse((PROJECT / path).read_text()))
        if function not in {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}:
            missing.append(name)

    assert missing == []


def test_every_rule_names_a_test_and_every_mutation_is_told() -> None:
    """Rules 1 to 13 each name at least one test; each mutation stands in the table under its rule."""
    rows = [line for line in RULES.splitlines() if re.match(r"\| \d+ \|", line)]
    told = {match for row in rows for match in re.findall(r"\[([\w-]+)\]", row)}

    assert {int(row.split("|")[1]) for row in rows if "`tests/" in row} == set(range(1, 14))
    assert told == {each.id for each in MUTATIONS}
    assert all(any(row.startswith(f"| {each.rule} |") and f"[{each.id}]" in row for row in rows) for each in MUTATIONS)
