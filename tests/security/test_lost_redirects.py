"""A redirect that is lost, doubled or killed is no loss: one more click, or a reload, goes on, and nothing is done twice."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.consent.sealing import SEALED_ROW
from shared.consent.state import RedirectError, new_secret
from shared.domain.steps import StepName, StepState
from tests.security.visitor import KilledError, Visitor, consent_redirect, new_account, query_of, refused
from tests.support.grantline import CONSOLE, Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL_FLOW, ROLE = StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT


def kill_at_save(parts: Grantline, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Have the process end at the next save of a grant, just before or just after it."""
    grants = parts.container.storage.grants
    save = type(grants).save

    async def killed(*arguments: object) -> None:
        monkeypatch.undo()
        if moment == "after":
            await save(grants, *arguments)  # type: ignore[arg-type] # the arguments of the call that is in its place
        raise KilledError

    monkeypatch.setattr(grants, "save", killed)


async def test_a_doubled_redirect_changes_nothing(parts: Grantline) -> None:
    """A reload of either redirect goes on to the grant's page; the step is queued once."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    signed_in = await visitor.redirected(grant_id)
    consented = await visitor.at_microsoft(await visitor.take(signed_in))
    await visitor.take(consented)
    before = await parts.grant(grant_id), await parts.events(grant_id)

    assert await visitor.take(signed_in) == f"/grants/{grant_id}"
    assert await visitor.take(consented) == f"/grants/{grant_id}"

    assert (await parts.grant(grant_id), await parts.events(grant_id)) == before
    assert before[1].count("step.person_acted") == 1


async def test_of_two_redirects_at_once_one_goes_on(parts: Grantline) -> None:
    """A double click, or a reload while the first is on its way, sends the code once and leaves nothing on the step."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    signed_in = await visitor.redirected(grant_id)
    parts.simulation.recorder.clear()

    ends = sorted(await asyncio.gather(*(visitor.take(signed_in) for _ in range(3))))

    assert ends[:2] == [f"/grants/{grant_id}"] * 2
    assert "/adminconsent" in ends[2]
    step = (await parts.grant(grant_id)).steps[MAIL_FLOW]
    assert (step.state, step.problem) == (StepState.WAITING_FOR_PERSON, None)
    assert "consent.refused" not in await parts.events(grant_id)
    organizations = "/organizations/oauth2/v2.0/token"
    assert len([each for each in parts.simulation.recorder.requests if each.path == organizations]) == 1


async def test_a_refusal_is_written_down_once_a_minute(parts: Grantline) -> None:
    """A redirect that is loaded again and again does not fill the audit; a minute later, or for another reason, it is told."""
    visitor = Visitor(parts, "member@contoso.com")
    grant_id = await parts.start(new_account())

    async def refused_sign_in(*, told: bool) -> None:
        redirect = await visitor.redirected(grant_id)
        assert (await refused(parts, grant_id, redirect, visitor.cookie, told=told)).code == "not_administrator"

    await refused_sign_in(told=True)
    for _ in range(3):
        await refused_sign_in(told=False)
    elsewhere = await visitor.redirected(grant_id)
    assert (await refused(parts, grant_id, elsewhere, new_secret())).code == "other_browser"
    assert (await refused(parts, grant_id, elsewhere, new_secret(), told=False)).code == "other_browser"
    parts.clock.offset = timedelta(seconds=61)
    await refused_sign_in(told=True)


async def test_a_proved_sign_in_cures_what_a_refused_one_left(parts: Grantline) -> None:
    """The refusal stands on the step until somebody who may signs in."""
    member, visitor = Visitor(parts, "member@contoso.com"), Visitor(parts)
    grant_id = await parts.start(new_account())
    await refused(parts, grant_id, await member.redirected(grant_id), member.cookie)
    found = (await parts.grant(grant_id)).steps[MAIL_FLOW].problem
    assert found
    assert found.code == "not_administrator"

    await visitor.take(await visitor.redirected(grant_id))

    assert (await parts.grant(grant_id)).steps[MAIL_FLOW].problem is None


async def test_a_consent_that_never_comes_back_is_told_at_once(parts: Grantline) -> None:
    """From the click on the step waits for the administrator, and says where they are; the same link goes on."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    before = (await parts.grant(grant_id)).steps[MAIL_FLOW]

    await visitor.take(await visitor.redirected(grant_id))

    step = (await parts.grant(grant_id)).steps[MAIL_FLOW]
    assert (step.state, step.who, step.clock) == (StepState.WAITING_FOR_PERSON, before.who, before.clock)
    assert "sent to Microsoft to accept; nothing has come back" in step.reason
    assert "/oauth2/v2.0/authorize" in await visitor.begin(grant_id)


async def test_a_used_consent_does_not_prompt_another_look(parts: Grantline) -> None:
    """A state is for one use: replayed when its step waits for a person again, it changes nothing."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    state = query_of(await visitor.take(await visitor.redirected(grant_id)))["state"]
    forged = f"{CONSOLE}/consented?admin_consent=True&tenant={parts.facts['tenant_id']}&state={state}"
    await visitor.take(forged)
    parts.clock.offset = timedelta(minutes=40)
    assert (await parts.settle(grant_id, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.WAITING_FOR_PERSON
    before = await parts.grant(grant_id)

    assert await visitor.take(forged) == f"/grants/{grant_id}"

    assert await parts.grant(grant_id) == before


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_killed_sign_in_goes_on_by_one_more_click(parts: Grantline, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A reload leads to the grant's page, and the spent code is not sent again; one more click goes on."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.redirected(grant_id)
    kill_at_save(parts, monkeypatch, moment)
    with pytest.raises(KilledError):
        await visitor.take(redirect)

    assert await visitor.take(redirect) == f"/grants/{grant_id}"
    assert (await parts.grant(grant_id)).steps[MAIL_FLOW].problem is None
    consented = await visitor.at_microsoft(await visitor.take(await visitor.redirected(grant_id)))
    assert await visitor.take(consented) == f"/grants/{grant_id}"

    assert visitor.consents_asked == 1
    assert (await parts.settle(grant_id, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_killed_consent_goes_on_by_a_reload(parts: Grantline, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """A reload of the consent's redirect finishes it; nobody consents twice, and the step is queued once."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await consent_redirect(visitor, grant_id)
    kill_at_save(parts, monkeypatch, moment)
    with pytest.raises(KilledError):
        await visitor.take(redirect)

    assert await visitor.take(redirect) == f"/grants/{grant_id}"

    assert visitor.consents_asked == 1
    assert (await parts.events(grant_id)).count("step.person_acted") == 1
    assert (await parts.settle(grant_id, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_killed_sign_in_for_the_role_goes_on(parts: Grantline, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Killed before the save, no token lies anywhere and one more click goes on; killed after it, a reload does."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    redirect = await visitor.redirected(grant_id, ROLE)
    kill_at_save(parts, monkeypatch, moment)
    with pytest.raises(KilledError):
        await visitor.take(redirect)

    sealed = await parts.container.storage.grants.row(grant_id, SEALED_ROW)
    assert (sealed is not None) is (moment == "after")
    if moment == "before":
        assert await visitor.take(redirect) == f"/grants/{grant_id}"
        redirect = await visitor.redirected(grant_id, ROLE)
    assert await visitor.take(redirect) == f"/grants/{grant_id}"

    assert (await parts.settle(grant_id, ROLE)).steps[ROLE].state is StepState.DONE


async def test_a_consent_that_never_came_back_is_not_asked_again(parts: Grantline) -> None:
    """One more click: the sign-in shows that the application has its permissions, and no consent page comes."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    await consent_redirect(visitor, grant_id)

    assert await visitor.take(await visitor.redirected(grant_id)) == f"/grants/{grant_id}"

    assert visitor.consents_asked == 1
    assert (await parts.settle(grant_id, MAIL_FLOW)).steps[MAIL_FLOW].state is StepState.DONE


async def test_a_step_that_waits_for_nobody_is_not_begun(parts: Grantline) -> None:
    """The link of a step that is blocked or under way leads to the grant's page, not to Microsoft."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())

    assert await visitor.begin(grant_id, ROLE) == f"/grants/{grant_id}"
    await visitor.take(await consent_redirect(visitor, grant_id))
    assert await visitor.begin(grant_id, MAIL_FLOW) == f"/grants/{grant_id}"


@pytest.mark.parametrize("step", [StepName.MAIL_FLOW_CONSENT, StepName.VERIFICATION])
async def test_what_is_not_there_is_not_begun(parts: Grantline, step: StepName) -> None:
    """An unknown grant, or a step that no person begins, is refused."""
    grant_id = str(uuid4()) if step is MAIL_FLOW else await parts.start(new_account())

    with pytest.raises(RedirectError) as caught:
        await Visitor(parts).begin(grant_id, step)

    assert caught.value.problem.code == "grant_unknown"
