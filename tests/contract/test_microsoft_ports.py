"""The Microsoft ports against the simulated tenant: TLS, the committed registrations, Microsoft's own client libraries."""

import json
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from local.microsoft365.faults import Fault, Match
from local.microsoft365.model import FederatedCredential
from shared.consent import proof
from shared.domain.directory import User
from shared.domain.grant import RoleMode
from shared.domain.steps import StepName
from shared.microsoft import open_microsoft
from shared.microsoft.clouds import CLOUDS
from shared.microsoft.permissions import Application, Permission, Resource, registered
from shared.ports import (
    HeldRole,
    Microsoft,
    NotFoundError,
    NotYetError,
    Page,
    RefusedError,
    RoleWish,
    SignInAnswer,
    SignInRequest,
    TransientError,
)
from shared.settings import Settings, load
from tests.microsoft365.platform import CONSENTED, CONSOLE, SIGNED_IN, VERIFIER, Platform, running
from tests.support.app_settings import APP_SETTINGS
from tests.support.managed_identity import managed_identity

PROJECT = Path(__file__).parents[2]
CONTRACTS = PROJECT.parent / "shared" / "contracts"
APPLICATIONS = PROJECT / "infra" / "applications"
EXCHANGE_ADMINISTRATOR = "29232cdf-9323-42fd-ade2-1d097af3e4de"
ROLE_SCOPE = "RoleManagement.ReadWrite.Directory"


@dataclass(slots=True)
class World:
    """Grantline's client and the tenant that it speaks to."""

    platform: Platform
    microsoft: Microsoft

    @property
    def tenant_id(self) -> str:
        """Contoso's id."""
        return self.platform.tenant.id

    def sign_in_request(self, application: str, *scopes: str) -> SignInRequest:
        """Return a sign-in at Contoso's own address."""
        return SignInRequest(application, self.tenant_id, SIGNED_IN, "the-state", "the-nonce", VERIFIER, scopes)

    async def consent(self, application: str) -> dict[str, str]:
        """Walk the admin consent page that the port names, and return what the redirect says."""
        url = self.microsoft.sign_in.admin_consent_url(application, self.tenant_id, CONSENTED, "the-state")
        page = await self.platform.sign_in(url, "admin@contoso.com")
        return await self.platform.press(page, "accept")

    async def signed_in(self, request: SignInRequest, person: str) -> SignInAnswer:
        """Sign a person in through the pages, and redeem the code."""
        url = self.microsoft.sign_in.authorization_url(request)
        shown = await self.platform.sign_in(url, f"{person}@contoso.com")
        returned = shown.returned or await self.platform.press(shown, "accept")
        return await self.microsoft.sign_in.redeem(request, returned["code"])

    async def with_role(self) -> None:
        """Consent to the mail-flow application and give it the Exchange Administrator role."""
        await self.consent("mail_flow")
        request = self.sign_in_request("role_helper", ROLE_SCOPE)
        token = (await self.signed_in(request, "admin")).access_token
        principal = (await self.microsoft.identity.application_token("mail_flow", self.tenant_id)).object_id
        await self.microsoft.roles(self.tenant_id, token).assign(RoleWish(principal, EXCHANGE_ADMINISTRATOR), with_pim=False)


def settings_of(platform: Platform) -> Settings:
    """Return settings that point at the simulated tenant, with its registrations' ids and secrets."""
    simulation = platform.simulation
    registrations = {
        f"GRANTLINE_{name.upper()}_CLIENT_{key}": value
        for name in Application
        for key, value in (
            ("ID", platform.application(name).app_id),
            ("SECRET", platform.application(name).secrets[-1].value),
        )
    }
    hosts = {f"GRANTLINE_{name}_URL": simulation.url for name in ("AUTHORITY", "GRAPH", "EXCHANGE", "MANAGEMENT")}
    return load({**APP_SETTINGS, **registrations, **hosts, "GRANTLINE_CA_FILE": str(simulation.ca_file)})


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A tenant that nobody has consented in yet."""
    contracts = CONTRACTS if CONTRACTS.is_dir() else None
    async with running(tmp_path, applications=APPLICATIONS, contracts=contracts, users=1200) as platform:
        microsoft = open_microsoft(settings_of(platform))
        try:
            yield World(platform, microsoft)
        finally:
            await microsoft.close()


def test_the_platform_is_the_console(world: World) -> None:
    """The committed redirect addresses are the console's, in the tenant's registrations."""
    assert world.platform.application("mail_flow").redirect_uris == (f"{CONSOLE}/signed-in", f"{CONSOLE}/consented")


async def test_tenant_of_domain(world: World) -> None:
    """A verified domain leads to its tenant; an unknown name to none."""
    assert await world.microsoft.sign_in.tenant_of_domain("contoso.com") == world.tenant_id
    assert await world.microsoft.sign_in.tenant_of_domain("nobody.example") is None


@pytest.mark.parametrize(("person", "is_administrator"), [("admin", True), ("member", False)])
async def test_sign_in_proves_who_came(world: World, person: str, is_administrator: bool) -> None:
    """The redeemed id_token passes the proof with Microsoft's published keys, and tells administrators by their roles."""
    sign_in = world.microsoft.sign_in
    answer = await world.signed_in(world.sign_in_request("mail_flow"), person)
    keys = await sign_in.signing_keys()

    who = proof.prove(
        answer.id_token,
        key=keys[proof.key_id(answer.id_token)],
        client_id=sign_in.client_id("mail_flow"),
        issuer=sign_in.issuer(),
        nonce="the-nonce",
        now=datetime.now(UTC),
    )

    assert who.tenant_id == world.tenant_id
    assert bool(who.roles & proof.accepted(StepName.MAIL_FLOW_CONSENT, RoleMode.SIGN_IN)) is is_administrator
    assert answer.access_token == ""


async def test_code_counts_once(world: World) -> None:
    """A second redemption of a code, and a wrong verifier, are refused with Microsoft's text."""
    request = world.sign_in_request("mail_flow")
    shown = await world.platform.sign_in(world.microsoft.sign_in.authorization_url(request), "admin@contoso.com")
    returned = shown.returned or await world.platform.press(shown, "accept")
    await world.microsoft.sign_in.redeem(request, returned["code"])

    with pytest.raises(RefusedError) as raised:
        await world.microsoft.sign_in.redeem(request, returned["code"])

    assert raised.value.problem.code == "sign_in_again"
    assert "AADSTS" in raised.value.problem.raw
    assert raised.value.problem.correlation_id


@pytest.mark.parametrize("application", ["mail_flow", "directory", "activity", "role_assigner"])
async def test_consent_gives_exactly_what_is_required(world: World, application: str) -> None:
    """Before the consent the token endpoint knows nothing; after it, the token carries the catalogue's permissions."""
    identity = world.microsoft.identity
    with pytest.raises(NotYetError):
        await identity.application_token(application, world.tenant_id)

    returned = await world.consent(application)
    token = await identity.application_token(application, world.tenant_id)

    assert returned["tenant"] == world.tenant_id
    assert token.permissions == identity.required_permissions(application)
    assert token.tenant_id == world.tenant_id
    assert token.client_id == world.microsoft.sign_in.client_id(application)
    assert token.directory_roles == frozenset()


async def test_consent_spreads_later(world: World) -> None:
    """An accepted consent shows once it has spread: the next look sees it, no cache is in between."""
    world.platform.simulation.settings = world.platform.simulation.settings.changed({"consent_delay": 60.0})
    await world.consent("mail_flow")
    with pytest.raises(NotYetError):
        await world.microsoft.identity.application_token("mail_flow", world.tenant_id)

    world.platform.simulation.clock.advance(61)

    token = await world.microsoft.identity.application_token("mail_flow", world.tenant_id)
    assert token.permissions == {"Exchange.ManageAsApp"}


async def test_wrong_secret_is_the_operators(world: World) -> None:
    """A refused credential is the registration's problem and does not show the secret."""
    settings = settings_of(world.platform).model_copy(update={"mail_flow_client_secret": SecretStr("wrong-secret")})
    microsoft = open_microsoft(settings)
    try:
        with pytest.raises(RefusedError) as raised:
            await microsoft.identity.application_token("mail_flow", world.tenant_id)
    finally:
        await microsoft.close()

    assert raised.value.problem.code == "credential_expired"
    assert "wrong-secret" not in repr(raised.value)


async def test_role_is_assigned_once_and_has_its_effect(world: World) -> None:
    """With the administrator's token the role is assigned; a second time is no error; then Exchange lets the application in."""
    await world.consent("mail_flow")
    with pytest.raises(NotYetError):
        await world.microsoft.exchange(world.tenant_id).offered_cmdlets()
    answer = await world.signed_in(world.sign_in_request("role_helper", ROLE_SCOPE), "privileged")
    principal = (await world.microsoft.identity.application_token("mail_flow", world.tenant_id)).object_id
    roles = world.microsoft.roles(world.tenant_id, answer.access_token)

    wish = RoleWish(principal, EXCHANGE_ADMINISTRATOR)

    assert await roles.policy(EXCHANGE_ADMINISTRATOR) is None
    assert await roles.held(principal, EXCHANGE_ADMINISTRATOR) is None
    assert await roles.assign(wish, with_pim=False) == HeldRole()
    assert await roles.assign(wish, with_pim=False) == HeldRole()

    assert await roles.held(principal, EXCHANGE_ADMINISTRATOR) == HeldRole()
    token = await world.microsoft.identity.application_token("mail_flow", world.tenant_id)
    assert token.directory_roles == {EXCHANGE_ADMINISTRATOR}
    assert {"Get-TransportRule", "New-InboundConnector"} <= await world.microsoft.exchange(world.tenant_id).offered_cmdlets()


async def test_role_spreads_later(world: World) -> None:
    """Exchange knows the role with a token that was issued after it had spread; an older object stays outside."""
    world.platform.simulation.settings = world.platform.simulation.settings.changed({"role_delay": 60.0})
    await world.with_role()
    early = world.microsoft.exchange(world.tenant_id)
    with pytest.raises(NotYetError):
        await early.invoke("Get-TransportRule")

    world.platform.simulation.clock.advance(61)

    with pytest.raises(NotYetError):
        await early.invoke("Get-TransportRule")
    assert await world.microsoft.exchange(world.tenant_id).invoke("Get-TransportRule") == []


async def test_who_may_not_assign_is_refused(world: World) -> None:
    """An Exchange administrator's sign-in does not allow the assignment: a problem that says who may."""
    await world.consent("mail_flow")
    await world.consent("role_helper")
    answer = await world.signed_in(world.sign_in_request("role_helper", ROLE_SCOPE), "exchange")
    principal = (await world.microsoft.identity.application_token("mail_flow", world.tenant_id)).object_id

    with pytest.raises(RefusedError) as raised:
        await world.microsoft.roles(world.tenant_id, answer.access_token).assign(
            RoleWish(principal, EXCHANGE_ADMINISTRATOR), with_pim=False
        )

    assert raised.value.problem.code == "role_refused"
    assert answer.access_token not in repr(raised.value)


async def test_unknown_principal_has_not_spread(world: World) -> None:
    """A principal that the directory does not know is for a little later."""
    answer = await world.signed_in(world.sign_in_request("role_helper", ROLE_SCOPE), "admin")
    unknown = "99999999-9999-4999-8999-999999999999"

    with pytest.raises(NotYetError):
        await world.microsoft.roles(world.tenant_id, answer.access_token).assign(
            RoleWish(unknown, EXCHANGE_ADMINISTRATOR), with_pim=False
        )


async def test_exchange_objects_live_and_die(world: World) -> None:
    """Cmdlets create, read, change and remove; what is not there is told as such; a refusal keeps Exchange's text."""
    await world.with_role()
    exchange = world.microsoft.exchange(world.tenant_id)
    name = {"Identity": "A rule"}

    await exchange.invoke(
        "New-TransportRule", {"Name": "A rule", "SentToScope": "InOrganization", "SetSCL": -1, "Enabled": False}
    )
    (rule,) = await exchange.invoke("Get-TransportRule", name)
    await exchange.invoke("Enable-TransportRule", {**name, "Confirm": False})
    (enabled,) = await exchange.invoke("Get-TransportRule", name)
    await exchange.invoke("Remove-TransportRule", {**name, "Confirm": False})

    assert (rule["Name"], rule["State"], enabled["State"]) == ("A rule", "Disabled", "Enabled")
    assert not any("@" in key for key in rule)
    with pytest.raises(NotFoundError, match="A rule"):
        await exchange.invoke("Get-TransportRule", name)
    with pytest.raises(RefusedError) as raised:
        await exchange.invoke("New-TransportRule", {"Name": "A rule", "NoSuchParameter": 1})
    assert raised.value.problem.code == "exchange_refused"
    assert "NoSuchParameter" in raised.value.problem.raw
    with pytest.raises(RefusedError) as raised:
        await exchange.invoke("Get-NoSuchThing")
    assert raised.value.problem.code == "cmdlet_not_offered"


async def test_directory_is_read_whole(world: World) -> None:
    """Organization, domains, all users page by page, and groups with members come as the tenant has them."""
    await world.consent("directory")
    directory = world.microsoft.directory(world.tenant_id)

    organization = await directory.organization()
    domains = {domain.name: domain for domain in await directory.domains()}
    first = await directory.users()
    second = await directory.users(first.next_link)
    groups = await directory.group_changes()

    assert (organization.tenant_id, organization.display_name) == (world.tenant_id, world.platform.tenant.display_name)
    assert domains["contoso.com"].is_default
    assert domains["contoso.com"].receives_mail
    assert domains["contoso.onmicrosoft.com"].is_initial
    assert any(not domain.is_verified and not domain.receives_mail for domain in domains.values())
    assert (len(first.items), second.next_link) == (999, "")
    users = {change.object_id: User(change.object_id, **change.values) for change in (*first.items, *second.items)}
    assert len(users) == await directory.user_count() == 1200
    assert any(len(user.smtp_addresses) > 1 for user in users.values())
    assert any(not user.enabled for user in users.values())
    assert all(user.smtp_addresses[0] == user.mail.casefold() for user in users.values() if user.mail)
    assert {"Member", "Guest"} <= {user.user_type for user in users.values()}
    assert all(change.values["display_name"] for change in groups.items)
    assert {member.kind for change in groups.items for member in change.members} == {"user", "group"}


async def test_throttling_is_told(world: World) -> None:
    """A 429 of each service comes back at once with Microsoft's wish, and the next call goes through."""
    await world.with_role()
    await world.consent("directory")
    for path in ("/v1.0/organization", "InvokeCommand", "/oauth2/v2.0/token"):
        fault = Fault(Match(path=path), times=1, status=429, headers={"Retry-After": "2"})
        world.platform.simulation.faults.add(fault)
    exchange, directory = world.microsoft.exchange(world.tenant_id), world.microsoft.directory(world.tenant_id)
    calls = (
        lambda: world.microsoft.identity.application_token("directory", world.tenant_id),
        directory.organization,
        lambda: exchange.invoke("Get-TransportRule"),
    )

    for call in calls:
        with pytest.raises(TransientError) as raised:
            await call()
        assert raised.value.retry_after == timedelta(seconds=2)
        await call()


async def test_lost_connection_is_transient(world: World) -> None:
    """A connection that ends without an answer is for later; whether the change was made is for the next read to tell."""
    await world.with_role()
    exchange = world.microsoft.exchange(world.tenant_id)
    world.platform.simulation.faults.add(Fault(Match(cmdlet="New-TransportRule"), drop=True, after=True))

    with pytest.raises(TransientError, match="can't be reached"):
        await exchange.invoke("New-TransportRule", {"Name": "A rule", "SentToScope": "InOrganization", "SetSCL": -1})

    assert [rule["Name"] for rule in await exchange.invoke("Get-TransportRule")] == ["A rule"]


async def test_managed_identity_in_place_of_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With federated credentials instead of secrets, the applications get their tokens and people's codes are redeemed."""
    issuer, identity_id = "https://login.example.com/vendor/v2.0", "33333333-3333-4333-8333-333333333333"
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    audience = CLOUDS["global"].assertion_audience
    trust = FederatedCredential(issuer, identity_id, audience, public)

    def token_for(resource: str) -> str:
        now = datetime.now(UTC)
        claims = {"iss": issuer, "sub": identity_id, "aud": resource, "nbf": now, "iat": now, "exp": now + timedelta(hours=1)}
        return jwt.encode({**claims, "jti": "an-id"}, key, algorithm="RS256")

    async with running(tmp_path, applications=APPLICATIONS) as platform, managed_identity(monkeypatch, token_for):
        store = platform.simulation.store
        secrets = {f"{name}_client_secret": None for name in Application}
        settings = settings_of(platform).model_copy(update={**secrets, "managed_identity_client_id": identity_id})
        store.registrations = {
            app_id: replace(each, secrets=(), federated_credentials=(trust,)) for app_id, each in store.registrations.items()
        }
        microsoft = open_microsoft(settings)
        world = World(platform, microsoft)
        try:
            await world.with_role()
            assert await microsoft.exchange(world.tenant_id).offered_cmdlets()
        finally:
            await microsoft.close()


READS = {"organization", "domains", "users", "groups"}
GRAPH_PERMISSIONS = [entry for entry in registered("directory", "") if entry.resource is Resource.GRAPH]


@pytest.mark.parametrize("taken", GRAPH_PERMISSIONS, ids=lambda entry: entry.name)
async def test_each_directory_permission_is_needed(tmp_path: Path, taken: Permission) -> None:
    """Without any one of Grantline's permissions a read of the directory is refused, or shows too little."""
    names = await _readable(tmp_path, "directory", without=taken.permission_id)

    assert names < READS


@pytest.mark.parametrize("instead", ["07d67222-3a10-4d3b-9ddc-b8aa43198a00", "8222c640-cae5-4860-8d11-b32cfad95e03"])
async def test_smaller_permissions_do_not_tell_who_is_in_a_group(tmp_path: Path, instead: str) -> None:
    """Group.ReadBasic.All tells no members in changes, GroupMember.ReadBasic.All does not allow changes at all."""
    taken = next(entry for entry in GRAPH_PERMISSIONS if entry.name == "GroupMember.Read.All")

    names = await _readable(tmp_path, "directory", without=taken.permission_id, instead=instead)

    assert READS - names == {"groups"}


async def test_all_directory_permissions_suffice(tmp_path: Path) -> None:
    """With all of Grantline's permissions every read works, and the product's is not needed for it."""
    product = next(entry for entry in registered("directory", "Mail.ReadBasic.All") if entry.name == "Mail.ReadBasic.All")

    names = await _readable(tmp_path, "directory", without=product.permission_id)

    assert names == READS


async def test_exchange_needs_its_permission(tmp_path: Path) -> None:
    """Without Exchange.ManageAsApp the role alone opens nothing."""
    (entry,) = registered("mail_flow", "")
    applications = _registrations(tmp_path, "mail_flow", entry.permission_id)
    async with running(tmp_path, applications=applications) as platform:
        microsoft = open_microsoft(settings_of(platform))
        world = World(platform, microsoft)
        try:
            await world.with_role()
            with pytest.raises(NotYetError):
                await microsoft.exchange(world.tenant_id).invoke("Get-TransportRule")
        finally:
            await microsoft.close()


def _registrations(tmp_path: Path, application: str, without: str, instead: str = "") -> Path:
    """Write the committed registrations with one permission taken from one of them, and maybe another in its place."""
    folder = tmp_path / "reduced"
    folder.mkdir()
    for path in APPLICATIONS.glob("*.json"):
        body = json.loads(path.read_text(encoding="utf-8"))
        if path.stem == application:
            for resource in body["requiredResourceAccess"]:
                kept = [entry for entry in resource["resourceAccess"] if entry["id"] != without]
                resource["resourceAccess"] = [*kept, *([{"id": instead, "type": "Role"}] if instead else [])]
        (folder / path.name).write_text(json.dumps(body), encoding="utf-8")
    return folder


async def _readable(tmp_path: Path, application: str, *, without: str, instead: str = "") -> set[str]:
    """Return which reads of the directory work, whole, without one permission, or with another in its place."""
    async with running(tmp_path, applications=_registrations(tmp_path, application, without, instead)) as platform:
        microsoft = open_microsoft(settings_of(platform))
        world = World(platform, microsoft)
        try:
            await world.consent("directory")
            directory = microsoft.directory(world.tenant_id)
            reads = {"organization": directory.organization, "domains": directory.domains}
            works = {name for name, read in reads.items() if await _works(read())}
            pages = {"users": (directory.users, _has_aliases), "groups": (directory.group_changes, _has_members)}
            works |= {name for name, (read, is_whole) in pages.items() if await _works(read()) and is_whole(await read())}
            return works
        finally:
            await microsoft.close()


async def _works(read: Awaitable[object]) -> bool:
    try:
        await read
    except RefusedError as error:
        if error.problem.code != "graph_refused":
            raise
        return False
    return True


def _has_aliases(page: Page) -> bool:
    return any(len(change.values.get("smtp_addresses", ())) > 1 for change in page.items)


def _has_members(page: Page) -> bool:
    return any(change.members for change in page.items)
