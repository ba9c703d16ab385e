"""What the checks know beside Exchange: service plans and mail exchangers, as far as the directory's consent allows."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.domain.grant import Step
from shared.domain.outcomes import Done, NeedsPerson, Outcome
from shared.domain.steps import StepName, StepState
from shared.mailflow.checks.organization import FOUNDATION
from shared.ports import Directory, Microsoft, MxAnswer, NotYetError, RefusedError
from shared.workflows import surroundings
from shared.workflows.preflight import FINDINGS_ROW, preflight
from shared.workflows.run import Run
from shared.workflows.surroundings import RETURN_HOSTS_ROW
from tests.workflows.mail_flow_runs import Bench, FakeMicrosoft

STANDARD = "9aaf7827-d63c-4b61-89c3-182f06f82e5c"
HOSTS = {"contoso.com": "contoso-com.mx.example", "contoso.net": "contoso-net.mx.example"}


@dataclass
class Surroundings:
    """The directory and the DNS of a tenant, in memory."""

    plans: tuple[str, ...] = (FOUNDATION, STANDARD)
    hosts: Mapping[str, str] = field(default_factory=lambda: dict(HOSTS))
    published: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """What the DNS says where it differs from what Microsoft expects."""
    refuses: Exception | None = None
    is_silent: bool = False

    async def service_plans(self) -> tuple[Mapping[str, Any], ...]:
        """Tell the plans, or refuse."""
        if self.refuses:
            raise self.refuses
        return tuple({"service": "exchange", "servicePlanId": each, "capabilityStatus": "Enabled"} for each in self.plans)

    async def service_records(self, domain: str) -> tuple[str, ...]:
        """Tell what Microsoft expects; it knows nothing of the initial domain here."""
        if domain not in self.hosts:
            raise RefusedError("no such domain")
        return (self.hosts[domain],)

    async def mail_exchangers(self, domain: str) -> MxAnswer:
        """Tell what is published."""
        if self.is_silent:
            await asyncio.sleep(60)
        return MxAnswer(tuple(self.published.get(domain, [self.hosts[domain]] if domain in self.hosts else [])))


@dataclass
class WithDirectory(FakeMicrosoft):
    """The fake tenant with a directory."""

    around: Surroundings = field(default_factory=Surroundings)

    def directory(self, tenant_id: str) -> Directory:
        """Return the directory."""
        assert tenant_id == "tenant"
        return cast("Directory", self.around)


async def _preflight(bench: Bench, around: Surroundings, *, is_consented: bool = True, resolves: bool = True) -> Outcome:
    async def work(run: Run) -> Outcome:
        microsoft = cast("Microsoft", WithDirectory(bench.exchange, around))
        clients = replace(run.clients, microsoft=microsoft, resolver=around if resolves else None)
        state = StepState.DONE if is_consented else StepState.WAITING_FOR_PERSON
        grant = run.grant.with_step(Step(StepName.DIRECTORY_CONSENT, state))
        return await preflight(replace(run, grant=grant, clients=clients))

    return await bench.once(work)


def _results(outcome: Outcome) -> dict[str, str]:
    assert isinstance(outcome, Done | NeedsPerson)
    return {entry["check"]: entry["result"] for entry in outcome.facts["checks"]}


async def test_a_tidy_tenant_passes_and_tells_where_mail_returns() -> None:
    """Where the DNS says what Microsoft expects, both checks pass, and the scanner's return hosts are kept by domain."""
    bench = Bench()
    outcome = await _preflight(bench, Surroundings())

    assert isinstance(outcome, Done)
    assert (_results(outcome)["mail_exchangers"], _results(outcome)["exchange_plan"]) == ("passed", "passed")
    assert await bench.rows.row(RETURN_HOSTS_ROW) == {domain: [host] for domain, host in HOSTS.items()}


async def test_mail_that_arrives_elsewhere_is_to_be_acknowledged() -> None:
    """An MX at another gateway stops the grant until somebody takes it as it is."""
    bench, around = Bench(), Surroundings(published={"contoso.com": ["mx.gateway.example"]})
    outcome = await _preflight(bench, around)

    assert isinstance(outcome, NeedsPerson)
    assert (outcome.problem.code, "mx.gateway.example" in outcome.problem.cause) == ("finding_unacknowledged", True)
    (row,) = outcome.rows
    assert row.key == FINDINGS_ROW
    bench.intent = replace(bench.intent, acknowledged=("mail_exchangers|contoso.com",))
    assert isinstance(await _preflight(bench, around), Done)


async def test_a_tenant_without_exchange_is_told_so() -> None:
    """The plan that other products bring with them is none."""
    outcome = await _preflight(Bench(), Surroundings(plans=(FOUNDATION,)))

    assert isinstance(outcome, NeedsPerson)
    assert outcome.problem.code == "no_exchange"


@pytest.mark.parametrize("refusal", [NotYetError("no consent"), RefusedError("no permission")], ids=["not yet", "refused"])
async def test_a_consent_that_is_gone_is_no_matter_of_preflight(refusal: Exception) -> None:
    """Without the directory both are told as not checked, and nothing stops."""
    outcome = await _preflight(Bench(), Surroundings(refuses=refusal))

    assert isinstance(outcome, Done)
    assert (_results(outcome)["mail_exchangers"], _results(outcome)["exchange_plan"]) == ("not_checked", "not_checked")


async def test_before_the_consent_nothing_is_asked() -> None:
    """Preflight does not wait for the other branch: what that knows is told as not checked."""
    outcome = await _preflight(Bench(), Surroundings(plans=()), is_consented=False)

    assert _results(outcome)["exchange_plan"] == "not_checked"


async def test_without_a_resolver_mail_exchangers_are_not_checked() -> None:
    """An installation that names no DNS resolver asks none."""
    outcome = await _preflight(Bench(), Surroundings(published={"contoso.com": ["elsewhere.example"]}), resolves=False)

    assert (_results(outcome)["mail_exchangers"], _results(outcome)["exchange_plan"]) == ("not_checked", "passed")


async def test_a_silent_dns_does_not_hold_the_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no answer in time is told as not checked; the step goes on."""
    monkeypatch.setattr(surroundings, "PATIENCE", timedelta(milliseconds=20))
    outcome = await _preflight(Bench(), Surroundings(is_silent=True))

    assert isinstance(outcome, Done)
    assert _results(outcome)["mail_exchangers"] == "not_checked"
