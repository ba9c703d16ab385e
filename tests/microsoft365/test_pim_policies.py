"""Privileged Identity Management's policies, eligible people, and tenants that have no licence for any of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from local.microsoft365.model import Role, RolePolicy
from local.microsoft365.role_assignments import eligible, held_roles, make_eligible, pim_of
from tests.microsoft365.pim import BASE, EXCHANGE, PRINCIPAL, REQUESTS, WRITE, administrator, ask, lasting, license_pim, refusal
from tests.microsoft365.served import CONTRACTS, NOW, Served, serve

POLICIES = "/v1.0/policies/roleManagementPolicyAssignments"
SCOPE = "scopeId eq '/' and scopeType eq 'DirectoryRole'"
READ = "RoleManagement.Read.Directory"
ELIGIBLE = f"{BASE}/roleEligibilityScheduleInstances"
ELIGIBILITY_REQUESTS = f"{BASE}/roleEligibilityScheduleRequests"
READ_ELIGIBLE = "RoleEligibilitySchedule.Read.Directory"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A tenant with Privileged Identity Management; afterwards nothing may have broken Microsoft's description."""
    async with serve(users=12) as running:
        license_pim(running)
        yield running
        assert running.contract.report()["violations"] == []


async def rules_of(served: Served, role: str = EXCHANGE) -> dict[str, dict[str, Any]]:
    """Return the rules of a role's policy by id."""
    condition = f"{SCOPE} and roleDefinitionId eq '{role}'"
    answer = await served.graph(f"{POLICIES}?$filter={condition}&$expand=policy($expand=rules)", READ)
    assert answer.status == 200, answer.body
    (row,) = answer.body["value"]
    assert row["roleDefinitionId"] == role
    return {rule["id"]: rule for rule in row["policy"]["rules"]}


def documented_rules() -> list[dict[str, Any]]:
    """Return the rules of Microsoft's own example, a policy that nobody has changed."""
    examples = json.loads((CONTRACTS / "examples.json").read_text())
    (example,) = (each for each in examples if each["n"] == 32)
    rules: list[dict[str, Any]] = example["response"]["body"]["value"][0]["policy"]["rules"]
    return rules


@pytest.mark.skipif(not (CONTRACTS / "examples.json").exists(), reason="Microsoft's examples are not beside this tree")
async def test_the_policy_of_a_new_tenant_is_microsofts_example(served: Served) -> None:
    """All seventeen rules, value by value."""
    assert list((await rules_of(served, Role.GLOBAL_ADMINISTRATOR)).values()) == documented_rules()


async def test_a_tenants_own_policy_is_shown(served: Served) -> None:
    """The rules for administrators, and those of activation, which only people who activate meet."""
    mfa = frozenset({"MultiFactorAuthentication", "Ticketing"})
    served.tenant.role_policies[EXCHANGE] = RolePolicy(True, "P15D", mfa, requires_approval=True, authentication_context="c1")

    rules = await rules_of(served)
    other = await rules_of(served, Role.GLOBAL_READER)

    expiration = rules["Expiration_Admin_Assignment"]
    assert (expiration["isExpirationRequired"], expiration["maximumDuration"]) == (True, "P15D")
    assert rules["Enablement_Admin_Assignment"]["enabledRules"] == ["MultiFactorAuthentication", "Ticketing"]
    assert rules["Approval_EndUser_Assignment"]["setting"]["isApprovalRequired"] is True
    context = rules["AuthenticationContext_EndUser_Assignment"]
    assert (context["claimValue"], context["isEnabled"]) == ("c1", True)
    assert other["Enablement_Admin_Assignment"]["enabledRules"] == ["Justification"]


async def test_policies_need_a_scope(served: Served) -> None:
    """Without the filter on it 400; without `$expand` only the assignment; an unknown expansion is refused."""
    unfiltered = await served.graph(POLICIES, READ)
    elsewhere = await served.graph(f"{POLICIES}?$filter=scopeType eq 'DirectoryRole'", READ)
    half = await served.graph(f"{POLICIES}?$filter=scopeId eq '/'", READ)
    bare = await served.graph(f"{POLICIES}?$filter={SCOPE}", READ)
    unknown = await served.graph(f"{POLICIES}?$filter={SCOPE}&$expand=policy($expand=effectiveRules)", READ)
    lists = await served.graph(f"/v1.0/policies/roleManagementPolicies?$filter={SCOPE}&$expand=rules", READ)

    assert [unfiltered.status, elsewhere.status, half.status, unknown.status] == [400] * 4
    assert len(bare.body["value"]) == len(Role)
    assert "policy" not in bare.body["value"][0]
    assert {each["id"] for each in lists.body["value"]} == {each["policyId"] for each in bare.body["value"]}
    assert len(lists.body["value"][0]["rules"]) == 17


async def test_a_person_may_be_eligible_only(served: Served) -> None:
    """Everybody's tenant has one; the eligible role is listed, is no active one, and no token carries it."""
    person = served.tenant.users.find("eligible@contoso.com")
    assert person is not None

    listed = await served.graph(f"{ELIGIBLE}?$filter=principalId eq '{person.id}'", READ_ELIGIBLE)
    schedules = await served.graph(f"{BASE}/roleEligibilitySchedules", READ_ELIGIBLE)
    active = await served.graph(f"{BASE}/roleAssignmentScheduleInstances?$filter=principalId eq '{person.id}'", WRITE)

    assert [each["roleDefinitionId"] for each in listed.body["value"]] == [Role.GLOBAL_ADMINISTRATOR]
    assert listed.body["value"][0]["roleEligibilityScheduleId"] == schedules.body["value"][0]["id"]
    assert (active.body["value"], held_roles(served.tenant, person.id, NOW)) == ([], frozenset())


async def test_eligibility_is_given_and_taken_by_requests(served: Served) -> None:
    """Given once, with an end that comes, and removed by an administrator; what people ask for themselves is absent."""
    made = await ask(served, expiration=lasting("P2D"), path=ELIGIBILITY_REQUESTS)
    twice = await ask(served, path=ELIGIBILITY_REQUESTS)
    right = eligible(served.tenant, EXCHANGE, NOW)
    removed = await ask(served, "adminRemove", path=ELIGIBILITY_REQUESTS)
    nothing = await ask(served, "adminRemove", path=ELIGIBILITY_REQUESTS)
    own = await ask(served, "selfRenew", path=ELIGIBILITY_REQUESTS)
    active = await ask(served)
    listed = await served.graph(ELIGIBILITY_REQUESTS, "RoleEligibilitySchedule.ReadWrite.Directory")
    others = await served.graph(REQUESTS, WRITE)

    assert (made.status, made.body["targetScheduleId"]) == (201, right[0].id)
    assert [refusal(each)[1] for each in (twice, nothing)] == ["RoleAssignmentExists", "RoleAssignmentDoesNotExist"]
    assert (removed.body["status"], eligible(served.tenant, EXCHANGE), own.status) == ("Revoked", (), 501)
    assert [each["status"] for each in listed.body["value"]] == ["Provisioned", "Revoked"]
    assert [each["id"] for each in others.body["value"]] == [active.body["id"]]


async def test_eligibility_ends_by_the_clock(served: Served) -> None:
    """After its end nobody may activate the role any more."""
    await ask(served, expiration=lasting("P2D"), path=ELIGIBILITY_REQUESTS)
    path = f"{ELIGIBLE}?$filter=principalId eq '{PRINCIPAL}'"
    before = await served.graph(path, READ_ELIGIBLE)
    served.advance(2 * 86400)
    after = await served.graph(path, READ_ELIGIBLE)

    assert (len(before.body["value"]), after.body["value"]) == (1, [])


@pytest.mark.parametrize(
    ("licences", "has"),
    [
        ((), False),
        (("SPE_E3",), False),
        (("EXCHANGESTANDARD", "SPE_E5"), True),
        (("AAD_PREMIUM_P2",), True),
        (("SPE_E3", "Microsoft_Entra_ID_Governance"), True),
        (("NOT_A_PRODUCT",), False),
    ],
)
async def test_the_licence_decides(served: Served, licences: tuple[str, ...], *, has: bool) -> None:
    """Entra ID P2 or Governance, in whatever product; without it every call is refused, and subscriptions say the same."""
    served.tenant.licences = licences
    calls = [
        await served.graph(f"{BASE}/roleAssignmentScheduleInstances", WRITE),
        await served.graph(f"{POLICIES}?$filter={SCOPE}", WRITE),
        await ask(served),
    ]
    plans = await served.graph("/v1.0/subscribedSkus", "LicenseAssignment.Read.All")

    names = {plan["servicePlanName"] for sku in plans.body["value"] for plan in sku["servicePlans"]}
    assert bool(names & {"AAD_PREMIUM_P2", "Entra_Identity_Governance"}) == pim_of(served.tenant) == has
    words = "The tenant needs to have Microsoft Entra ID P2 or Microsoft Entra ID Governance license."
    for page in calls:
        assert page.status in {200, 201} if has else refusal(page) == (400, "AadPremiumLicenseRequired", words)


async def test_an_eligible_administrator_administers_nothing(served: Served) -> None:
    """Eligible for Privileged Role Administrator is not being one: a token without the role is refused."""
    make_eligible(served.tenant, Role.PRIVILEGED_ROLE_ADMINISTRATOR, PRINCIPAL, NOW, None)
    roles = held_roles(served.tenant, PRINCIPAL, NOW)

    answer = await ask(served, token=served.token(scopes=[WRITE], wids=roles))

    assert (answer.status, (await ask(served, token=administrator(served))).status) == (403, 201)
