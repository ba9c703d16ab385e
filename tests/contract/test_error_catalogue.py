"""Every error of the catalogue, made by the simulated tenant and met by the real client: the right problem each time.

Numbers of the identity platform come in each endpoint's own form; errors that no state leads to are answered by faults with the
body that Microsoft documents. ``tests/unit/microsoft/test_errors.py`` holds what each is to mean.
"""

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from local.microsoft365.activity.errors import ActivityError
from local.microsoft365.faults import Fault, Match
from local.microsoft365.identity.errors import KINDS
from shared.domain.problems import GrantlineError
from shared.microsoft import open_microsoft
from shared.microsoft.refusals import Reaction
from shared.ports import (
    HeldRole,
    NotFoundError,
    NotYetError,
    PolicyRefusedError,
    RefusedError,
    RoleWish,
    SignInRequest,
    TransientError,
)
from tests.contract.test_microsoft_ports import APPLICATIONS, EXCHANGE_ADMINISTRATOR, World, settings_of
from tests.microsoft365.platform import CONSENTED, SIGNED_IN, VERIFIER, Shown, running
from tests.unit.microsoft.test_errors import AADSTS, ACTIVITY, EXCHANGE, GRAPH, PIM, WHERE

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOT_SIMULATED = {
    65005: "the former number of 650052",
    90033: "the identity platform is busy; a fault with a status stands for it",
    700082: "of refresh tokens, which Grantline does not ask for",
}
NUMBERS = sorted((AADSTS.keys() | WHERE.keys()) - NOT_SIMULATED.keys())
RAISED: Mapping[str, type[GrantlineError]] = {
    Reaction.TRANSIENT: TransientError,
    Reaction.EXPIRED_PAGE: TransientError,
    Reaction.NOT_YET: NotYetError,
    Reaction.NOT_FOUND: NotFoundError,
    Reaction.POLICY: PolicyRefusedError,
}
PRINCIPAL = "22222222-2222-4222-8222-222222222222"
WISH = RoleWish(PRINCIPAL, EXCHANGE_ADMINISTRATOR, "Because.", "P180D")
REQUEST_ID = "55555555-5555-4555-8555-555555555555"
REQUESTS, INSTANCES = "/roleAssignmentScheduleRequests", "/roleAssignmentScheduleInstances"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A tenant that has consented to everything, and Grantline's client of it."""
    async with running(tmp_path_factory.mktemp("microsoft365"), applications=APPLICATIONS, users=12) as platform:
        microsoft = open_microsoft(settings_of(platform))
        world = World(platform, microsoft)
        try:
            await world.with_role()
            await world.consent("directory")
            await world.consent("activity")
            yield world
        finally:
            await microsoft.close()


@pytest.fixture(autouse=True)
def _calm(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget the faults of a test that met fewer than it made."""
    yield
    if "world" in request.fixturenames:
        request.getfixturevalue("world").platform.simulation.faults.clear()


def _refuse(world: World, path: str, status: int, body: Any, times: int = 1) -> None:
    """Let the next requests to a path be answered so."""
    world.platform.simulation.faults.add(Fault(Match(path=path), times=times, status=status, body=body))


def _refuse_by_number(world: World, path: str, number: int) -> None:
    """Let the identity platform refuse the next request to a path."""
    world.platform.simulation.faults.add(Fault(Match(path=path), aadsts=number))


async def _refusal(call: Awaitable[object], meaning: str) -> GrantlineError:
    """Return the error that a call ends with, which must be of the kind that ``meaning`` stands for."""
    with pytest.raises(RAISED.get(meaning, RefusedError)) as raised:
        await call
    if isinstance(raised.value, RefusedError) and meaning not in RAISED:
        assert raised.value.problem.code == meaning
    return raised.value


def _raw(error: GrantlineError) -> str:
    return error.problem.raw if isinstance(error, RefusedError) else getattr(error, "raw", "") or str(error)


async def test_every_number_is_simulated() -> None:
    """What the tables know, the simulated identity platform can say, but for what is named here."""
    assert set(NUMBERS) <= KINDS.keys()
    assert not NOT_SIMULATED.keys() & KINDS.keys()


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_token_is_refused(world: World, number: int) -> None:
    """An application that asks for itself gets a problem with Microsoft's text and correlation id, or waits."""
    meaning = AADSTS[number] if number in AADSTS else WHERE[number][0]
    _refuse_by_number(world, "/token$", number)

    error = await _refusal(world.microsoft.identity.application_token("mail_flow", world.tenant_id), meaning)

    assert f"AADSTS{number}: " in _raw(error)
    if isinstance(error, RefusedError):
        assert error.problem.correlation_id
        assert error.problem.correlation_id in error.problem.raw


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_code_is_refused(world: World, number: int) -> None:
    """A person whose code Microsoft refuses is told why, or signs in again."""
    meaning = AADSTS[number] if number in AADSTS else WHERE[number][1]
    request = SignInRequest("mail_flow", world.tenant_id, SIGNED_IN, "the-state", "the-nonce", VERIFIER)
    _refuse_by_number(world, "/token$", number)

    error = await _refusal(world.microsoft.sign_in.redeem(request, "a-code"), meaning)

    assert f"AADSTS{number}: " in _raw(error)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("page", ["authorize", "adminconsent"])
async def test_a_page_refuses(world: World, page: str, number: int) -> None:
    """What comes back to the console has its problem; with what does not come back, the person stays on Microsoft's page."""
    sign_in = world.microsoft.sign_in
    request = SignInRequest("mail_flow", world.tenant_id, SIGNED_IN, "the-state", "the-nonce", VERIFIER)
    consent = sign_in.admin_consent_url("mail_flow", world.tenant_id, CONSENTED, "the-state")
    _refuse_by_number(world, f"/{page}", number)

    url = sign_in.authorization_url(request) if page == "authorize" else consent
    shown = await Shown(world.platform, world.platform.browser()).open(url)

    assert (shown.returned is None) is KINDS[number].is_shown
    if shown.returned is None:
        assert f"AADSTS{number}" in shown.words
        return
    found = sign_in.redirect_problem(shown.returned["error"], shown.returned["error_description"])
    assert found.code == (AADSTS[number] if number in AADSTS else WHERE[number][2])
    assert found.correlation_id


def _graph(code: str, text: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": text, "innerError": {"request-id": REQUEST_ID}}}


@pytest.mark.parametrize("code", GRAPH)
async def test_a_read_of_the_directory_is_refused(world: World, code: str) -> None:
    """Each status and code of Graph is a wait or a problem, with the request id that Microsoft's support asks for."""
    status, meaning, _ = GRAPH[code]
    _refuse(world, "/v1.0/users", status, _graph(code, "A text."))

    error = await _refusal(world.microsoft.directory(world.tenant_id).users(), meaning)

    if isinstance(error, RefusedError):
        assert (error.problem.raw, error.problem.correlation_id) == (f"{code}: A text.", REQUEST_ID)


@pytest.mark.parametrize("code", PIM)
@pytest.mark.parametrize("access_token", ["a-delegated-token", ""], ids=["sign-in", "application"])
async def test_a_role_is_refused(world: World, access_token: str, code: str) -> None:
    """Each error of Privileged Identity Management, to a person's token and to an application's own."""
    await _with_assigner(world)
    status, text, meaning = PIM[code]
    roles = world.microsoft.roles(world.tenant_id, access_token, application="role_assigner")
    _refuse(world, REQUESTS, status, _graph(code, text))
    if meaning == Reaction.ALREADY:
        instance = {"directoryScopeId": "/", "endDateTime": None, "startDateTime": None}
        _refuse(world, INSTANCES, 200, {"value": [instance]})
        assert await roles.assign(WISH, with_pim=True) == HeldRole()
        return

    error = await _refusal(roles.assign(WISH, with_pim=True), "unexpected" if meaning == Reaction.UNLICENSED else meaning)

    assert _raw(error) == f"{code}: {text}"
    if isinstance(error, PolicyRefusedError):
        assert (error.rules, error.problem.code) == (frozenset({"MfaRule"}), "role_needs_mfa")


async def _with_assigner(world: World) -> None:
    """Consent to the role assigner, once."""
    application = world.platform.application("role_assigner").app_id
    if world.platform.tenant.service_principal_of(application) is None:
        await world.consent("role_assigner")


@pytest.mark.parametrize("code", [code for code in ACTIVITY if code.startswith("AF")])
async def test_activity_data_is_refused(world: World, code: str) -> None:
    """Each code of the Management Activity API, in the simulated tenant's own words; what is on already is success."""
    _, _, meaning = ACTIVITY[code]
    refused = ActivityError(code, "a fact", "another")
    activity = world.microsoft.activity(world.tenant_id)
    _refuse(world, "/subscriptions/start", refused.status, refused.document())
    if meaning == Reaction.ALREADY:
        await activity.start("Audit.Exchange")
        return

    error = await _refusal(activity.start("Audit.Exchange"), meaning)

    if isinstance(error, RefusedError):
        assert error.problem.raw == f"{code}: {refused.message}"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"activity_disabled_by": "a tenant admin"}, "activity_disabled"), ({"unified_audit_log": False}, "audit_off")],
    ids=["switched off", "no audit log"],
)
async def test_activity_data_is_off_in_the_tenant(world: World, change: dict[str, Any], code: str) -> None:
    """By the tenant's own state, without a fault: both are for its administrator to put right."""
    tenant = f"tenants/{world.tenant_id}"
    await world.platform.control("POST", tenant, json=change)
    try:
        await _refusal(world.microsoft.activity(world.tenant_id).start("Audit.Exchange"), code)
    finally:
        await world.platform.control("POST", tenant, json={"activity_disabled_by": "", "unified_audit_log": True})

    await world.microsoft.activity(world.tenant_id).start("Audit.Exchange")


def _exchange(code: str, text: str) -> dict[str, Any]:
    """Return the body that was recorded of Exchange: the exception's type stands in the first detail."""
    name, _, kind = code.partition(" ")
    kind = kind.removeprefix("|")
    details = [{"code": "Context", "target": "", "message": f"|{kind or 'System.Exception'}|{text}"}]
    return {"error": {"code": name, "message": "Error executing cmdlet", "details": details}}


@pytest.mark.parametrize("name", [name for name in EXCHANGE if EXCHANGE[name][1]])
async def test_a_cmdlet_is_refused(world: World, name: str) -> None:
    """Each refusal that was recorded of Exchange's admin endpoint."""
    status, code, text, meaning = EXCHANGE[name]
    _refuse(world, "InvokeCommand", status, _exchange(code, text), times=1 + (meaning == Reaction.EXPIRED_PAGE))

    error = await _refusal(world.microsoft.exchange(world.tenant_id).invoke("Get-TransportRule"), meaning)

    if isinstance(error, RefusedError):
        assert error.problem.raw == text


async def test_an_unknown_refusal_is_shown_as_it_is(world: World) -> None:
    """What no table knows becomes no guess: Microsoft's own words and the request id are on the problem."""
    _refuse(world, REQUESTS, 400, _graph("NeverSeenBefore", "Words that nobody knows."))

    error = await _refusal(world.microsoft.roles(world.tenant_id, "t").assign(WISH, with_pim=True), "role_refused")

    assert isinstance(error, RefusedError)
    assert error.problem.raw == "NeverSeenBefore: Words that nobody knows."
    assert error.problem.correlation_id == REQUEST_ID
