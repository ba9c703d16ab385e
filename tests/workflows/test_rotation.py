"""Credentials are rotated step by step, in either order, and a grant's work goes on throughout."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from local.microsoft365.model import FederatedCredential, Secret
from shared.certificates import read_certificate
from shared.consent.state import new_secret
from shared.domain import schedule
from shared.domain.steps import StepName, StepState
from shared.microsoft import open_microsoft
from shared.ports import Microsoft, SignInRequest, UsedCredential
from shared.settings import Settings
from shared.workflows.run import Run
from tests.support.certificates import client_certificate, rsa_key
from tests.support.grantline import CONSOLE
from tests.support.managed_identity import managed_identity
from tests.support.worlds import Case, World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLICATIONS = ("mail_flow", "directory")
IDENTITY = "33333333-3333-4333-8333-333333333333"
ISSUER = "https://login.microsoftonline.com/00000000-0000-4000-8000-0000000000aa/v2.0"
SUBJECT = "44444444-4444-4444-8444-444444444444"
YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Proof:
    """A credential: how settings hold it, how a registration does, and how it is told."""

    field: str
    setting: Any
    registered: Secret | FederatedCredential | str
    told: UsedCredential


def secret(value: str, ends_in: timedelta = YEAR) -> Proof:
    """Return a client secret."""
    made = Secret(value, value, datetime.now(UTC) + ends_in)
    return Proof("{}_client_secret", SecretStr(value), made, UsedCredential("client secret"))


def certificate(name: str) -> Proof:
    """Return a certificate."""
    pem, public = client_certificate(name)
    read = read_certificate(pem)
    return Proof("{}_certificate", read, public, UsedCredential("certificate", read.thumbprint, read.ends_at))


def identity() -> Proof:
    """Return a managed identity, with the federated credential that trusts it."""
    key = rsa_key("identity").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    trust = FederatedCredential(ISSUER, SUBJECT, "api://AzureADTokenExchange", key)
    return Proof("managed_identity_client_id", IDENTITY, trust, UsedCredential("managed identity", IDENTITY))


def vouch(audience: str) -> str:
    """Return what the platform gives for the managed identity."""
    now = datetime.now(UTC)
    claims = {"iss": ISSUER, "sub": SUBJECT, "aud": audience, "nbf": now, "exp": now + timedelta(hours=1)}
    return jwt.encode(claims, rsa_key("identity"), algorithm="RS256")


KINDS: dict[str, tuple[Callable[[], Proof], Callable[[], Proof]]] = {
    "secret": (lambda: secret("the older secret"), lambda: secret("the newer secret")),
    "certificate": (lambda: certificate("one"), lambda: certificate("other")),
    "secret to certificate": (lambda: secret("the older secret"), lambda: certificate("one")),
    "certificate to managed identity": (lambda: certificate("one"), identity),
}
"""Rotations: from what, to what."""

Stage = tuple[tuple[Proof, ...], Proof, Proof | None, Proof]
"""What Microsoft knows, the newest credential in the settings, the former one, and which of both is taken."""


def registration_first(old: Proof, new: Proof) -> list[Stage]:
    """The order of the operations guide."""
    return [
        ((old,), old, None, old),
        ((old, new), old, None, old),
        ((old, new), new, old, new),
        ((new,), new, old, new),
        ((new,), new, None, new),
    ]


def settings_first(old: Proof, new: Proof) -> list[Stage]:
    """The other order, which is also what happens while Microsoft has not spread a new credential to all its servers."""
    return [
        ((old,), old, None, old),
        ((old,), new, old, old),
        ((old, new), new, old, new),
        ((new,), new, None, new),
    ]


WALKS = {
    "secret, registration first": ("secret", registration_first),
    "secret, settings first": ("secret", settings_first),
    "certificate, registration first": ("certificate", registration_first),
    "certificate, settings first": ("certificate", settings_first),
    "secret to certificate, settings first": ("secret to certificate", settings_first),
    "certificate to managed identity, settings first": ("certificate to managed identity", settings_first),
}
"""Each kind and each order; where the kind changes, the order that begins with a credential that nobody knows."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def case() -> AsyncIterator[Case]:
    """A grant whose work goes on: its directory is synced."""
    async with open_world() as world:
        case = await world.case()
        await case.until(StepName.PREFLIGHT)
        yield case


@pytest.fixture
def registrations(case: Case) -> Iterator[dict[str, Any]]:
    """The simulated registrations; a test leaves them as they were."""
    store = case.parts.simulation.store
    former = dict(store.registrations)
    yield store.registrations
    store.registrations.update(former)


def know(registrations: dict[str, Any], case: Case, proofs: tuple[Proof, ...]) -> None:
    """Have Microsoft know these credentials of the applications, and no others."""
    known = [proof.registered for proof in proofs]
    for name in APPLICATIONS:
        registrations[case.application_id(name)] = replace(
            registrations[case.application_id(name)],
            secrets=tuple(each for each in known if isinstance(each, Secret)),
            certificates=tuple(each for each in known if isinstance(each, str)),
            federated_credentials=tuple(each for each in known if isinstance(each, FederatedCredential)),
        )


def settings_with(settings: Settings, newest: Proof, former: Proof | None) -> Settings:
    """Return the settings after a restart with these credentials."""
    values: dict[str, Any] = {"managed_identity_client_id": None}
    for name in APPLICATIONS:
        values |= {f"{name}_certificate": None, f"{name}_client_secret": None}
        values |= {f"{name}_former_credential": former.setting if former else None, newest.field.format(name): newest.setting}
    return settings.model_copy(update=values)


@asynccontextmanager
async def restarted(world: World, settings: Settings) -> AsyncIterator[tuple[Microsoft, Any]]:
    """Open what speaks to Microsoft, and an engine whose runs do, as they are after a restart with these settings."""
    microsoft = open_microsoft(settings)

    def change(run: Run) -> Run:
        return replace(run, settings=settings, clients=replace(run.clients, microsoft=microsoft))

    try:
        yield microsoft, world.engine(change)
    finally:
        await microsoft.close()


async def sign_in(case: Case, microsoft: Microsoft) -> str:
    """Have the administrator sign in for the mail-flow application; return the id_token that the code is redeemed for."""
    request = SignInRequest("mail_flow", case.tenant_id, f"{CONSOLE}/signed-in", "state", "nonce", new_secret())
    landed = await case.parts.through_microsoft(microsoft.sign_in.authorization_url(request), case.administrator)
    (code,) = parse_qs(urlsplit(landed).query)["code"]
    return (await microsoft.sign_in.redeem(request, code)).id_token


@pytest.mark.parametrize(("kind", "order"), WALKS.values(), ids=WALKS.keys())
async def test_work_goes_on_through_a_rotation(
    case: Case, registrations: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str, order: Callable[..., list[Stage]]
) -> None:
    """At each stage the directory is synced, an administrator signs in, and a token is given; nothing fails or waits."""
    old, new = (make() for make in KINDS[kind])
    async with managed_identity(monkeypatch, vouch):
        for known, newest, former, taken in order(old, new):
            know(registrations, case, known)
            async with restarted(case.world, settings_with(case.parts.settings, newest, former)) as (microsoft, engine):
                await case.queue_again(StepName.DIRECTORY_SYNC)
                assert (await case.work(StepName.DIRECTORY_SYNC, engine)).state is StepState.DONE
                assert await sign_in(case, microsoft)
                token = await microsoft.identity.application_token("mail_flow", case.tenant_id)
                assert token.credential == replace(taken.told, is_former=taken is not newest)


async def test_a_rotation_that_is_late_is_a_problem_until_it_is_done(case: Case, registrations: dict[str, Any]) -> None:
    """An expired secret stops the work with a problem that the operator can put right; with a newer one it goes on."""
    old, new = secret("the older secret", -YEAR), secret("the newer secret")
    know(registrations, case, (old, new))
    await case.queue_again(StepName.DIRECTORY_SYNC)
    async with restarted(case.world, settings_with(case.parts.settings, old, None)) as (_, engine):
        step = await case.work(StepName.DIRECTORY_SYNC, engine)
    assert step.problem is not None
    assert (step.state, step.problem.code) == (StepState.NEEDS_ATTENTION, "credential_expired")
    assert "AADSTS7000222" in step.problem.raw

    await case.retry(StepName.DIRECTORY_SYNC)
    async with restarted(case.world, settings_with(case.parts.settings, new, old)) as (_, engine):
        assert (await case.work(StepName.DIRECTORY_SYNC, engine)).state is StepState.DONE


async def test_the_watch_tells_which_credential_is_used(case: Case, registrations: dict[str, Any]) -> None:
    """The daily look leaves behind what Microsoft has taken from each application, and when that ends."""
    await case.until(StepName.ACCESS_WATCH)
    old, new = secret("the older secret"), certificate("one")
    know(registrations, case, (old,))
    async with restarted(case.world, settings_with(case.parts.settings, new, old)) as (_, engine):
        former = (await case.work(StepName.ACCESS_WATCH, engine)).facts["credentials"]
        know(registrations, case, (old, new))
        await case.retry(StepName.ACCESS_WATCH)
        newer = (await case.work(StepName.ACCESS_WATCH, engine)).facts["credentials"]

    told = {"kind": "certificate", "name": new.told.name, "ends_at": schedule.stamp(new.setting.ends_at), "is_former": False}
    assert former == {name: {"kind": "client secret", "name": "", "ends_at": "", "is_former": True} for name in APPLICATIONS}
    assert newer == dict.fromkeys(APPLICATIONS, told)
