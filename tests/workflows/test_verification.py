"""Verification reads every fact back from Microsoft: whatever was changed behind Grantline's back is noticed and named."""

import re
from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365.model import Tenant
from local.microsoft365.store import frozen_copy
from shared.domain.grant import Grant, Step
from shared.domain.schedule import MAXIMUM_REOPENS
from shared.domain.steps import StepName, StepState
from shared.microsoft.permissions import Permission, registered
from shared.workflows.verification import PATIENCE
from tests.support.worlds import Case, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

INBOUND, OUTBOUND = "Grantline Inline Inbound", "Grantline Inline Outbound"
ROUTING_RULES = (f"{INBOUND} Domain Rule", f"{OUTBOUND} Domain Rule")
USER_RULES = (f"{INBOUND} User Rule", f"{OUTBOUND} User Rule")
VERDICT_RULES = (f"{INBOUND} Skip Spam Filter Rule", f"{INBOUND} Move to Junk Rule")
RETURN_CONNECTORS = (f"{INBOUND} Return Connector", f"{OUTBOUND} Return Connector")
ROUTING_CONNECTORS = (f"{INBOUND} Routing Connector", f"{OUTBOUND} Routing Connector")
GROUPS = (f"{INBOUND} Scope Group", f"{OUTBOUND} Scope Group")
FOREIGN_RULE = "Company disclaimer"
SPF_HARD_FAIL = "MarkAsSpamSpfRecordHardFail"


@dataclass(frozen=True, slots=True)
class Fact:
    """One property of an object, and how it is spoilt: a removed object no longer ``exists``."""

    noun: str
    identity: str
    property: str = "exists"
    value: Any = None
    scope: str = "domains"

    def __str__(self) -> str:
        """Return how people read of it."""
        return f"{self.identity}: {self.property} is"

    async def spoil(self, case: Case) -> None:
        """Change the property, or remove the object."""
        await case.tamper(self.noun, self.identity, **({} if self.property == "exists" else {self.property: self.value}))


def _rules(changes: Mapping[str, tuple[str, Any]], scope: str = "domains") -> list[Fact]:
    return [Fact("TransportRule", name, key, value, scope) for name, (key, value) in changes.items()]


def _removed() -> list[Fact]:
    objects = {"InboundConnector": RETURN_CONNECTORS, "OutboundConnector": ROUTING_CONNECTORS}
    rules = (*ROUTING_RULES, *VERDICT_RULES)
    return [Fact(noun, name) for noun, names in {"TransportRule": rules, **objects}.items() for name in names]


PERMISSIONS = [entry for name in ("mail_flow", "directory") for entry in registered(name, "Mail.ReadBasic.All")]
CONSENTS = {"mail_flow": StepName.MAIL_FLOW_CONSENT, "directory": StepName.DIRECTORY_CONSENT}

FACTS: Mapping[str, list[Fact]] = {
    "removed": _removed(),
    "switched": _rules(dict.fromkeys(ROUTING_RULES, ("State", "Enabled")) | dict.fromkeys(VERDICT_RULES, ("State", "Disabled"))),
    "other condition": _rules(
        {
            ROUTING_RULES[0]: ("RecipientDomainIs", ["other.example"]),
            ROUTING_RULES[1]: ("SenderDomainIs", ["other.example"]),
            **dict.fromkeys(VERDICT_RULES, ("SenderIpRanges", ["203.0.113.0/24"])),
        }
    ),
    "other exception": _rules(
        dict.fromkeys(ROUTING_RULES, ("ExceptIfSenderIpRanges", None))
        | dict.fromkeys(VERDICT_RULES, ("ExceptIfFrom", ["boss@other.example"]))
    ),
    "one more exception": _rules(dict.fromkeys(ROUTING_RULES, ("ExceptIfHeaderContainsMessageHeader", "X-Any"))),
    "below a foreign rule": _rules(dict.fromkeys((*ROUTING_RULES, *VERDICT_RULES), ("Priority", 9))),
    "other connector": [
        Fact("InboundConnector", RETURN_CONNECTORS[0], "RestrictDomainsToIPAddresses", value=True),
        Fact("InboundConnector", RETURN_CONNECTORS[1], "RequireTls", value=False),
        *(Fact("OutboundConnector", name, "SmartHosts", ["other.example"]) for name in ROUTING_CONNECTORS),
    ],
    "connector switched off": [
        *(Fact("InboundConnector", name, "Enabled", value=False) for name in RETURN_CONNECTORS),
        *(Fact("OutboundConnector", name, "Enabled", value=False) for name in ROUTING_CONNECTORS),
    ],
    "group removed": [Fact("DistributionGroup", name, scope="group") for name in GROUPS],
    "other members": [Fact("DistributionGroup", name, "Members", [], scope="group") for name in GROUPS],
    "other group": _rules(
        {
            USER_RULES[0]: ("SentToMemberOf", ["all-staff@tenant2.example.com"]),
            USER_RULES[1]: ("FromMemberOf", ["all-staff@tenant2.example.com"]),
        },
        scope="group",
    ),
}
"""Every object of a grant and how it can be spoilt, by the kind of spoiling."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A grant that verification is about to look at, and how it and its tenant then were."""

    case: Case
    grant: Grant
    tenant: Tenant

    async def restore(self) -> Case:
        """Put grant and tenant back to how they were."""
        self.case.world.calm()
        self.case.parts.simulation.store.tenants[self.case.tenant_id] = frozen_copy(self.tenant)
        await self.case.put_back(self.grant)
        return self.case


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def readies() -> AsyncIterator[dict[str, Ready]]:
    """A grant for domains and one for a group, both ready to be verified, in tenants that have a rule of their own as well."""
    async with open_world() as world:
        domains = await world.case(scope={"kind": "domains", "domains": ["tenant1.example.com"]})
        await domains.tamper("domain", "tenant1.example.net", isVerified=True)
        group = await world.case(scope={"kind": "group", "group": "all-staff@tenant2.example.com"})
        yield {"domains": await _made_ready(domains), "group": await _made_ready(group)}


async def _made_ready(case: Case) -> Ready:
    await case.until(StepName.VERIFICATION)
    _add_foreign_rule(case)
    return Ready(case, await case.grant(), frozen_copy(case.tenant))


def _add_foreign_rule(case: Case) -> None:
    """Give the tenant a rule of its own, last of all."""
    rules = case.tenant.exchange["TransportRule"]
    last = deepcopy(rules[-1])
    own = {"Name": FOREIGN_RULE, "Identity": FOREIGN_RULE, "Guid": "11111111-1111-4111-8111-111111111111"}
    rules.append({**last, **own, "Comments": None, "Priority": len(rules)})


@pytest_asyncio.fixture(loop_scope="module")
async def case(readies: dict[str, Ready]) -> Case:
    """The grant for domains, as verification finds it when nobody has meddled."""
    return await readies["domains"].restore()


async def _noticed(case: Case) -> str:
    """Let verification look once; return why it waits."""
    step = await case.work(StepName.VERIFICATION)
    assert step.state is StepState.WAITING
    assert step.clock is not None
    return step.reason


async def _given_up(case: Case) -> Step:
    """Let ten minutes pass and verification look once more; return its step."""
    step = await case.step(StepName.VERIFICATION)
    assert step.begun_at is not None
    case.parts.clock.advance_to(step.begun_at + PATIENCE)
    return await case.work(StepName.VERIFICATION)


async def _patience_over(case: Case) -> StepName:
    """Let ten minutes pass and verification look once more; return the one step that is done again."""
    seen = (await case.grant()).seq
    step = await _given_up(case)
    assert step.state is StepState.BLOCKED
    (reopened,) = (event.step for event in await case.events(seen) if event.type == "step.reopened")
    assert reopened is not None
    return reopened


async def _healed(case: Case) -> list[StepName]:
    """Go on until verification is done, letting ten minutes pass wherever it waits; return the steps that were done again."""
    owners: list[StepName] = []
    for _ in range(4):
        step = await case.until(StepName.VERIFICATION)
        step = await case.work(StepName.VERIFICATION)
        if step.is_done:
            return owners
        owners.append(await _patience_over(case))
    raise AssertionError(f"verification never passed: {step.reason}")


async def test_nothing_changed_is_done(case: Case) -> None:
    """A tenant that nobody has meddled with passes at once."""
    step = await case.work(StepName.VERIFICATION)

    assert step.is_done
    assert step.facts["checked"] == ["consents", "role", "mail flow", "directory"]


@pytest.mark.parametrize("fact", [fact for facts in FACTS.values() for fact in facts], ids=str)
async def test_a_spoilt_object_is_noticed_and_named(readies: dict[str, Ready], fact: Fact) -> None:
    """Verification waits, and its reason names the object and the property."""
    case = await readies[fact.scope].restore()
    await fact.spoil(case)

    assert str(fact) in await _noticed(case)


@pytest.mark.parametrize("spoiling", FACTS)
async def test_spoilt_objects_are_put_right(readies: dict[str, Ready], spoiling: str) -> None:
    """After ten minutes the mail flow is applied again: once, whatever was spoilt, and verification passes."""
    facts = FACTS[spoiling]
    case = await readies[facts[0].scope].restore()
    for fact in facts:
        await fact.spoil(case)
    reason = await _noticed(case)

    assert await _healed(case) == [StepName.MAIL_FLOW]
    assert all(str(fact) in reason for fact in facts)


@pytest.mark.parametrize("policy", ["Default", "Finance quarantine"])
async def test_the_spam_setting_is_for_a_person(case: Case, policy: str) -> None:
    """The setting that preflight asked for goes back to preflight, which asks the administrator for it again."""
    await case.tamper("HostedContentFilterPolicy", policy, **{SPF_HARD_FAIL: "On"})
    assert f"{policy}: {SPF_HARD_FAIL} is 'On'" in await _noticed(case)

    assert await _patience_over(case) is StepName.PREFLIGHT
    step = await case.settle(StepName.PREFLIGHT)
    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.WAITING_FOR_PERSON, "setting_blocks")
    assert policy in step.problem.fix

    await case.tamper("HostedContentFilterPolicy", policy, **{SPF_HARD_FAIL: "Off"})
    await case.retry(StepName.PREFLIGHT)
    assert await _healed(case) == []


async def test_much_that_is_spoilt_fits_into_the_reason(readies: dict[str, Ready]) -> None:
    """A group with a thousand strangers, and more facts than anybody reads, are told in a few lines: the grant's row is small."""
    case = await readies["group"].restore()
    strangers = [f"{number:08}-0000-4000-8000-000000000000" for number in range(1000)]
    users = case.tenant.users
    member = users.find("member@tenant2.example.com")
    assert member is not None
    for identifier in strangers:
        users.put(replace(member, id=identifier, mail=f"{identifier}@tenant2.example.com"))
    await case.tamper("DistributionGroup", GROUPS[0], Members=strangers)
    for name in (*USER_RULES, *VERDICT_RULES):
        await case.tamper("TransportRule", name, ExceptIfFrom=["boss@other.example"], Priority=9, State="Disabled", SetSCL=5)
    reason = await _noticed(case)

    assert f"{GROUPS[0]}: Members is ['00000000-" in reason
    assert re.search(r"; and \d+ more$", reason)
    assert len(reason) < 2000


async def test_a_stale_read_heals_by_itself(case: Case) -> None:
    """A fact that is there again before the ten minutes are over reopens nothing."""
    before_the_rules = {"@odata.context": "$metadata#rules", "value": []}
    await case.world.fault(cmdlet="Get-TransportRule", times=2, status=200, body=before_the_rules)
    reason = await _noticed(case)

    assert "exists" in reason
    assert (await case.work(StepName.VERIFICATION)).is_done


async def test_the_role_is_assigned_again_by_one_more_sign_in(case: Case) -> None:
    """Without the role its step is reopened: the administrator signs in once more, the role is assigned again."""
    await case.tamper("roleAssignment", case.application_id("mail_flow"))
    reason = await _noticed(case)

    assert "the Exchange Administrator role" in reason
    assert await _healed(case) == [StepName.ROLE_ASSIGNMENT]


@pytest.mark.parametrize(
    ("application", "owners"),
    [
        ("mail_flow", [StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT]),
        ("directory", [StepName.DIRECTORY_CONSENT]),
    ],
)
async def test_a_removed_application_is_consented_again(case: Case, application: str, owners: list[StepName]) -> None:
    """An administrator who removes an enterprise application is asked to consent again; its role went with it."""
    await case.tamper("servicePrincipal", case.application_id(application))
    reason = await _noticed(case)

    assert f"the consent of the {application} application" in reason
    assert await _healed(case) == owners


@pytest.mark.parametrize("application", ["mail_flow", "directory"])
async def test_a_disabled_application_is_named(case: Case, application: str) -> None:
    """An enterprise application that was switched off is named, and its consent is looked at again."""
    await case.tamper("servicePrincipal", case.application_id(application), accountEnabled=False)

    assert f"the consent of the {application} application: Microsoft Entra refuses: AADSTS7000112" in await _noticed(case)


@pytest.mark.parametrize("permission", PERMISSIONS, ids=lambda permission: permission.name)
async def test_a_removed_permission_is_named_and_consented_again(case: Case, permission: Permission) -> None:
    """Each application permission that is taken away is named, and one more consent brings it back."""
    await case.tamper("appRoleAssignment", permission.permission_id)
    reason = await _noticed(case)

    assert f"the {permission.application} application's permission {permission.name}" in reason
    assert await _healed(case) == [CONSENTS[permission.application]]


async def test_a_removed_domain_is_synced(case: Case) -> None:
    """A domain that left the tenant since the sync is named; the sync is done again. The chosen scope does not change."""
    await case.tamper("domain", "tenant1.example.net")
    reason = await _noticed(case)

    assert "the domain tenant1.example.net was removed from the tenant" in reason
    assert await _healed(case) == [StepName.DIRECTORY_SYNC]
    domains = (await case.step(StepName.DIRECTORY_SYNC)).facts["domains"]
    assert set(domains) == {"tenant1.example.com", "tenant1.onmicrosoft.com"}


async def test_a_new_domain_is_routed_and_synced(readies: dict[str, Ready]) -> None:
    """A domain that was verified since is named by the rules that must route it, then by the sync: both are done again."""
    case = await readies["group"].restore()
    await case.tamper("domain", "tenant2.example.net", isVerified=True)

    assert f"{USER_RULES[1]}: SenderDomainIs is" in await _noticed(case)
    assert await _patience_over(case) is StepName.MAIL_FLOW
    await case.until(StepName.VERIFICATION)
    assert "the domain tenant2.example.net was added to the tenant" in await _noticed(case)
    assert await _patience_over(case) is StepName.DIRECTORY_SYNC
    assert await _healed(case) == []


async def test_what_keeps_coming_back_is_for_a_person(case: Case) -> None:
    """The step of a fact is done again three times; then the problem names the fact, and nothing is reopened any more."""
    for _ in range(MAXIMUM_REOPENS):
        await case.tamper("TransportRule", VERDICT_RULES[0])
        assert await _patience_over(case) is StepName.MAIL_FLOW
        await case.until(StepName.VERIFICATION)
    await case.tamper("TransportRule", VERDICT_RULES[0])
    step = await _given_up(case)

    assert step.state is StepState.NEEDS_ATTENTION
    assert step.problem is not None
    assert step.problem.code == "fact_missing"
    assert f"{VERDICT_RULES[0]}: exists is" in step.problem.cause
