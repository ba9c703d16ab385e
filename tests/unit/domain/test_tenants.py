"""Which tenant a grant is for: the one that was proved, and the one that the operator expects."""

from shared.domain import decide
from shared.domain.decision import Decision
from shared.domain.grant import Grant
from shared.domain.steps import StepName
from tests.unit.domain.grants import NOW, created

A, B = "tenant-a", "tenant-b"


def _proved(grant: Grant, tenant: str) -> Grant:
    decision = decide.pin_tenant(grant, tenant, NOW, actor="an administrator")
    assert decision
    return decision.grant


def _settled(tenant: str) -> Grant:
    acted = decide.person_acted(_proved(created().grant, tenant), StepName.MAIL_FLOW_CONSENT, NOW, actor="an administrator")
    assert acted
    return acted.grant


def test_whoever_comes_first_is_not_bound_yet() -> None:
    """Nobody expected: any tenant may be proved, and another one after it, until somebody comes back from the consent."""
    grant = _proved(created().grant, A)

    assert (created().grant.pinned_tenant, grant.pinned_tenant) == ("", "")
    assert _proved(grant, B).tenant_id == B
    assert _settled(A).pinned_tenant == A


def test_another_tenant_than_the_expected_one_is_refused() -> None:
    """A start that names the tenant lets no other one in, before anything was proved and after."""
    grant = created(expected_tenant=A).grant

    assert grant.pinned_tenant == A
    assert decide.pin_tenant(grant, B, NOW, actor="x") is None
    assert _proved(grant, A).tenant_id == A
    assert decide.pin_tenant(_proved(grant, A), B, NOW, actor="x") is None


def test_the_same_proof_twice_changes_nothing() -> None:
    """A second sign-in of the same tenant is no event."""
    grant = _proved(created().grant, A)

    assert decide.pin_tenant(grant, A, NOW, actor="x") == Decision(grant)


def test_an_operator_may_tell_the_tenant_later() -> None:
    """What is expected counts from then on; expecting the same again changes nothing."""
    grant = decide.expect_tenant(created().grant, A)

    assert grant
    assert grant.pinned_tenant == A
    assert decide.expect_tenant(grant, A) == grant
    assert decide.expect_tenant(grant, B) is None


def test_expecting_forgets_another_tenant_that_has_not_consented() -> None:
    """Somebody of another tenant had signed in: a consent on its way from there must not settle the grant."""
    proved = _proved(created().grant, A)
    expected = decide.expect_tenant(proved, B)
    same = decide.expect_tenant(proved, A)

    assert expected
    assert (expected.tenant_id, expected.pinned_tenant) == ("", B)
    assert decide.pin_tenant(expected, A, NOW, actor="x") is None
    assert same
    assert same.tenant_id == A


def test_a_settled_tenant_is_not_expected_away() -> None:
    """After the first consent the grant is that tenant's for good."""
    assert decide.expect_tenant(_settled(A), B) is None
    expected = decide.expect_tenant(_settled(A), A)
    assert expected
    assert expected.pinned_tenant == A
