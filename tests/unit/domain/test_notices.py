"""What a sync has found that people should know: which notice, in which words, and until when."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain import decide, intents
from shared.domain.grant import Facts, Grant, Scope, ScopeKind
from shared.domain.notices import Notice, notices_of
from shared.domain.steps import StepName, StepState
from shared.engine import account_row
from tests.unit.domain.grants import NOW
from tests.unit.domain.test_daily_sync import LATER, complete
from tests.unit.domain.test_watch import given

FLOW, DAILY = StepName.MAIL_FLOW, StepName.DAILY_SYNC


def synced(scope: Scope = Scope(), **facts: object) -> Grant:  # noqa: B008 - an immutable value
    """Return a complete grant whose daily sync, an hour after all else, has left these facts."""
    grant = complete()
    grant = replace(grant, intent=replace(grant.intent, scope=scope))
    return grant.with_step(replace(grant.steps[DAILY], state=StepState.DONE, finished_at=LATER, facts=facts))


def only(grant: Grant) -> Notice:
    """Return the one notice that there is."""
    (notice,) = notices_of(grant)
    return notice


def test_a_domain_that_came_later_is_told_until_the_mail_flow_covers_it() -> None:
    """With all domains as the scope it is enough to do the mail flow again; then nothing is left to tell."""
    grant = synced(uncovered_domains=["new.example"])
    notice = only(grant)

    assert (notice.code, notice.names) == ("uncovered_domains", ("new.example",))
    assert "added after the mail flow was set up" in notice.cause
    assert "Do the mail flow again" in notice.fix
    assert account_row(grant).notices == ("uncovered_domains",)
    done = replace(grant.steps[FLOW], finished_at=LATER + timedelta(seconds=1))
    assert notices_of(grant.with_step(done)) == ()
    assert account_row(grant.with_step(done)).notices == ()


def test_a_domain_that_the_scope_does_not_name_stays_told() -> None:
    """Doing the mail flow again would not cover it: the scope is what must change."""
    grant = synced(Scope(ScopeKind.DOMAINS, domains=("old.example",)), uncovered_domains=["new.example"])
    done = replace(grant.steps[FLOW], finished_at=LATER + timedelta(seconds=1))

    assert "the scope of this grant does not name them" in only(grant).cause
    assert "scope names them too" in only(grant).fix
    assert notices_of(grant.with_step(done)) == notices_of(grant)


@pytest.mark.parametrize(
    ("count", "told"),
    [(1, "One group hides its members, so"), (1200, "1,200 groups hide their members, so that they are not synced.")],
)
def test_hidden_members_are_told_with_the_permission_that_shows_them(count: int, told: str) -> None:
    """Which permission is needed, and that nothing waits for it."""
    notice = only(synced(hidden_groups=count))

    assert (notice.code, notice.names) == ("hidden_groups", ())
    assert notice.cause.startswith(told)
    assert "Member.Read.Hidden" in notice.fix


def test_users_of_the_scope_that_are_not_there_are_named() -> None:
    """So that somebody can see how they were written."""
    notice = only(synced(Scope(), unknown_users=["ada@contoso.example", "bob@contoso.example"]))

    assert (notice.code, notice.names) == ("unknown_users", ("ada@contoso.example", "bob@contoso.example"))


@pytest.mark.parametrize(
    "facts", [{}, {"uncovered_domains": [], "hidden_groups": 0, "unknown_users": []}], ids=["old facts", "none"]
)
def test_nothing_found_is_no_notice(facts: Facts) -> None:
    """Nor is what a sync of an older release did not look for."""
    assert notices_of(synced(Scope(), **facts)) == ()


def test_only_the_last_sync_counts() -> None:
    """What the first one found, and the last one did not, is over."""
    grant = synced(Scope(), hidden_groups=0)
    first = replace(grant.steps[StepName.DIRECTORY_SYNC], facts={"hidden_groups": 3})

    assert notices_of(grant.with_step(first)) == ()
    assert only(complete().with_step(first)).code == "hidden_groups"


def test_a_grant_that_is_over_has_no_notices() -> None:
    """Nobody is to do anything for it any more."""
    grant = synced(uncovered_domains=["new.example"])

    assert notices_of(given(intents.remove(grant, NOW, actor="an operator"))) == ()
    assert notices_of(given(decide.release(grant, NOW, actor="an administrator", why="moved"))) == ()
