"""What people and programs see when somebody takes a permission away in a real (simulated) tenant, until it is given again."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shared.domain.grant import GrantState
from shared.domain.steps import StepName
from shared.microsoft import permissions
from shared.web import pages
from tests.console.asking import look
from tests.console.markup import Markup
from tests.support.program import Program
from tests.support.worlds import Case, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

WATCH, CONSENT = StepName.ACCESS_WATCH, StepName.DIRECTORY_CONSENT
LOST = "User.Read.All"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def case() -> AsyncIterator[Case]:
    """Give a grant that is complete and was watched once, in a console whose visitors are operators."""
    async with open_world(GRANTLINE_DEVELOPMENT_IDENTITY="true") as world:
        case = await world.case()
        await case.until(WATCH)
        await case.settle(WATCH)
        yield case


async def _page(case: Case) -> Markup:
    return await look(case.parts, pages.grant, grant_id=case.grant_id)


async def test_a_lost_permission_is_seen_marked_and_given_again(case: Case) -> None:
    """Nothing is missing; then one is, by name, for people and programs; after one more consent the grant is whole again."""
    program = Program(case.parts.container.site)
    before = (await program.get("api_grant", grant_id=case.grant_id)).json
    permission = next(each for each in permissions.catalogue("") if each.name == LOST)
    await case.tamper("appRoleAssignment", permission.permission_id)
    await case.retry(WATCH)
    await case.settle(WATCH)

    broken = (await program.get("api_grant", grant_id=case.grant_id)).json
    page = await _page(case)
    await case.act(CONSENT)
    await case.until(WATCH)
    await case.settle(WATCH)
    after = (await program.get("api_grant", grant_id=case.grant_id)).json

    assert [grant["state"] for grant in (before, broken, after)] == [
        GrantState.COMPLETED,
        GrantState.WAITING_FOR_PERSON,
        GrantState.COMPLETED,
    ]
    missing = [
        {each["application"]: each["missing"] for each in grant["consents"]}["directory"] for grant in (before, broken, after)
    ]
    assert missing == [[], [LOST], []]
    assert [LOST in row.text for row in page.named("th", scope="row") if "Missing" in row.text] == [True]
    assert page.links()["Click here"].endswith(f"/steps/{CONSENT}/begin")
    assert before["last_check"] is not None
