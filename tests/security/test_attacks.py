"""Attacks on the way through Microsoft, over TLS, on the code that is deployed: forged tokens, mix-up, substitution, downgrade.

RFC 9700 (OAuth 2.0 Security Best Current Practice) names them; docs/security.md says point by point what holds against each.
"""

import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from local.browser import Browser
from local.microsoft365.identity.issue import Issuer
from shared.consent.sealing import SEALED_ROW
from shared.consent.state import row_key
from shared.domain.decide import MFA_ASKED
from shared.domain.decision import Decision
from shared.domain.grant import Grant
from shared.domain.steps import STEPS, StepName, StepState
from shared.ports import SignInRequest
from shared.web.http import Request, see_other
from tests.security.forgery import Spoil, answering, forged
from tests.security.routes import ROUTES
from tests.security.visitor import Visitor, ask, cookie_of, new_account, operator, query_of, refused, with_query
from tests.support.grantline import CONSOLE, Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAIL_FLOW, ROLE, DIRECTORY = StepName.MAIL_FLOW_CONSENT, StepName.ROLE_ASSIGNMENT, StepName.DIRECTORY_CONSENT
STRANGERS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


# --- id_tokens that prove nothing here -----------------------------------------------------------------------------------------


def with_strangers_key(claims: dict[str, Any], issuer: Issuer) -> str:
    """Sign with another key, under the name of Microsoft's."""
    return jwt.encode(claims, STRANGERS_KEY, algorithm="RS256", headers={"kid": issuer.simulation.keys.key_id})


def with_unknown_key(claims: dict[str, Any], _issuer: Issuer) -> str:
    """Sign with another key, under a name that Microsoft does not publish."""
    return jwt.encode(claims, STRANGERS_KEY, algorithm="RS256", headers={"kid": "a-strangers-key"})


def unsigned(claims: dict[str, Any], issuer: Issuer) -> str:
    """Sign with nothing: algorithm "none"."""
    return jwt.encode(claims, "", algorithm="none", headers={"kid": issuer.simulation.keys.key_id})


def signed_with_the_public_key(claims: dict[str, Any], issuer: Issuer) -> str:
    """Sign with HS256 and Microsoft's public key as the shared secret (RFC 8725, 2.1)."""
    public = issuer.simulation.keys.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": issuer.simulation.keys.key_id}
    signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    return b".".join((signed, urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"="))).decode()


def with_its_own_key(claims: dict[str, Any], _issuer: Issuer) -> str:
    """Bring the key along in the token's header (RFC 8725, 2.9): no header but the key's name is read."""
    own = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGERS_KEY.public_key()))
    headers = {"kid": "own", "jwk": own, "jku": "https://attacker.example/keys"}
    return jwt.encode(claims, STRANGERS_KEY, algorithm="RS256", headers=headers)


SPOILT: Mapping[str, Spoil] = {
    "another key": with_strangers_key,
    "an unknown key": with_unknown_key,
    "unsigned": unsigned,
    "the public key as a secret": signed_with_the_public_key,
    "a key of its own": with_its_own_key,
}


@pytest.mark.parametrize("kind", SPOILT)
async def test_a_token_that_is_not_microsofts_is_refused(parts: Grantline, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Only a signature by a published key, with RS256, counts."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.redirected(grant_id)

    with answering(monkeypatch, "identity", SPOILT[kind]):
        assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "sign_in_not_proved"


NOW = "seconds from now"
FORGED: Mapping[str, Mapping[str, Any]] = {
    "another audience": {"aud": str(uuid4())},
    "several audiences": {"aud": [str(uuid4()), str(uuid4())]},
    "another issuer": {"iss": "https://login.attacker.example/{tid}/v2.0"},
    "another cloud's issuer": {"iss": "https://login.microsoftonline.us/{tid}/v2.0"},
    "another tenant's issuer": {"iss": "{authority}/99999999-2222-4333-8444-555555555555/v2.0"},
    "another tenant": {"tid": "99999999-2222-4333-8444-555555555555"},
    "expired": {NOW: -3600, "exp": 3000},
    "not valid yet": {NOW: 3600, "nbf": 0},
    "another nonce": {"nonce": "another-nonce"},
    "no nonce": {"nonce": None},
    "an empty nonce": {"nonce": ""},
    "no tenant": {"tid": None},
    "no issuer": {"iss": None},
    "no audience": {"aud": None},
    "no end": {"exp": None},
    "nobody": {"oid": None},
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_token_for_something_else_is_refused(parts: Grantline, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A token with Microsoft's own signature that is for another client, sign-in, tenant, cloud or time proves nothing here."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.redirected(grant_id)
    changes = dict(FORGED[kind])
    start = int(parts.clock().timestamp()) + changes.pop(NOW, 0)
    places = {"tid": parts.facts["tenant_id"], "authority": parts.facts["url"]}
    filled = {name: value.format(**places) if isinstance(value, str) else value for name, value in changes.items()}
    filled |= {name: start + filled[name] for name in ("exp", "nbf") if isinstance(filled.get(name), int)}

    with forged(monkeypatch, **filled):
        assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "sign_in_not_proved"


async def test_an_id_token_of_another_sign_in_is_refused(parts: Grantline, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole id_token of the same administrator, for the same application, from another sign-in: its nonce tells."""
    kept: list[str] = []

    def keep(claims: dict[str, Any], issuer: Issuer) -> str:
        keys = issuer.simulation.keys
        kept.append(jwt.encode(claims, keys.private, algorithm="RS256", headers={"kid": keys.key_id}))
        return kept[0]

    first, second = Visitor(parts), Visitor(parts)
    one = await parts.start(new_account())
    with answering(monkeypatch, "identity", keep):
        await first.take(await first.redirected(one))
        redirect = await second.redirected(one)
        assert (await refused(parts, one, redirect, second.cookie)).code == "sign_in_not_proved"
    assert len(kept) == 2


# --- codes and redirects of somebody else --------------------------------------------------------------------------------------


async def test_a_code_does_not_open_in_the_state_of_another_session(parts: Grantline) -> None:
    """Of two sign-ins to one grant, in two browsers, neither's code opens with the other's verifier (RFC 9700, 4.5)."""
    grant_id = await parts.start(new_account())
    victim, thief = Visitor(parts), Visitor(parts)
    stolen = query_of(await victim.redirected(grant_id))["code"]

    injected = with_query(await thief.redirected(grant_id), code=stolen)

    assert (await refused(parts, grant_id, injected, thief.cookie)).code == "sign_in_again"


async def test_a_code_for_another_application_does_not_open(parts: Grantline) -> None:
    """A code that was given to the role helper is nothing to the mail-flow application."""
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    visitor = Visitor(parts)
    code = query_of(await visitor.redirected(grant_id, ROLE))["code"]

    swapped = with_query(await visitor.redirected(grant_id, DIRECTORY), code=code)

    assert (await refused(parts, grant_id, swapped, visitor.cookie)).code == "sign_in_again"


ISSUERS: Mapping[str, str] = {
    "another authority": "https://login.attacker.example/{tid}/v2.0",
    "another cloud": "https://login.microsoftonline.us/{tid}/v2.0",
    "another tenant": "{authority}/99999999-2222-4333-8444-555555555555/v2.0",
    "version 1": "https://sts.windows.net/{tid}/",
    "a longer host": "{authority}.attacker.example/{tid}/v2.0",
}


@pytest.mark.parametrize("kind", ISSUERS)
async def test_a_redirect_of_another_issuer_is_refused(parts: Grantline, kind: str) -> None:
    """Mix-up (RFC 9700, 4.4): an issuer that the redirect names must be the one of the proved tenant (RFC 9207, 2.4)."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.redirected(grant_id)
    issuer = ISSUERS[kind].format(tid=parts.facts["tenant_id"], authority=parts.facts["url"])
    parts.simulation.recorder.clear()

    assert (await refused(parts, grant_id, f"{redirect}&iss={issuer}", visitor.cookie)).code == "sign_in_not_proved"

    if kind != "another tenant":
        assert list(parts.simulation.recorder.requests) == [], "the code was sent somewhere"


async def test_a_redirect_of_the_right_issuer_goes_on(parts: Grantline) -> None:
    """Should Microsoft begin to name the issuer, nothing breaks; other parameters of its redirects name no address to go to."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    redirect = await visitor.redirected(grant_id)
    named = with_query(
        redirect,
        iss=f"{parts.facts['url']}/{parts.facts['tenant_id']}/v2.0",
        cloud_instance_host_name="login.attacker.example",
        cloud_graph_host_name="graph.attacker.example",
        client_info="x",
    )

    location = await visitor.take(named)

    assert location.startswith(f"{parts.facts['url']}/{parts.facts['tenant_id']}/v2.0/adminconsent")


async def test_a_consent_link_sent_to_a_victim_gives_the_sender_nothing(parts: Grantline) -> None:
    """A victim who accepts on Microsoft's page, by the address that an attacker got, comes back in a browser that began nothing.

    The attacker can't claim it either: their state is for the tenant that they proved themselves.
    """
    attacker = Visitor(parts, "admin@fabrikam.onmicrosoft.com")
    grant_id = await parts.start(new_account())
    address = await attacker.take(await attacker.redirected(grant_id))
    theirs = (await parts.grant(grant_id)).tenant_id
    victim = Visitor(parts)
    lure = address.replace(theirs, parts.facts["tenant_id"])

    accepted = await victim.at_microsoft(lure)

    assert (await refused(parts, grant_id, accepted, victim.cookie)).code == "other_browser"
    assert (await refused(parts, grant_id, accepted, attacker.cookie)).code == "tenant_differs"
    assert (await parts.grant(grant_id)).tenant_id == theirs


# --- where a browser is sent ---------------------------------------------------------------------------------------------------


async def test_a_browser_is_sent_to_microsoft_or_to_a_page_of_ours(parts: Grantline) -> None:
    """Whatever the query says, no answer leads to another host (RFC 9700, 4.11): addresses come from settings alone."""
    visitor, site = Visitor(parts), parts.container.site
    grant_id = await parts.start(new_account())
    evil = "https://attacker.example/"
    locations = [await visitor.begin(grant_id)]
    for step in STEPS:
        headers = {**operator(), "host": "attacker.example", "x-forwarded-host": "attacker.example", "referer": evil}
        reply = await ask(site, "consent_begin", visitor.cookie, headers, grant_id=grant_id, step=step)
        locations.append(reply.headers.get("location", "/"))
    redirect = with_query(await visitor.redirected(grant_id), redirect_uri=evil, next=evil, return_to=evil, tenant="attacker")
    locations.append(await visitor.take(redirect))
    consented = with_query(await visitor.at_microsoft(locations[-1]), redirect_uri=evil, next=evil)
    locations.append(await visitor.take(consented))

    for location in locations:
        parts_of = urlsplit(location)
        assert f"{parts_of.scheme}://{parts_of.netloc}" in ("://", parts.facts["url"]), location
        assert not location.startswith("//")
        assert evil not in location
        if parts_of.netloc:
            assert query_of(location)["redirect_uri"] in (f"{CONSOLE}/signed-in", f"{CONSOLE}/consented")


@pytest.mark.parametrize(
    "uri",
    [
        "https://attacker.example/signed-in",
        f"{CONSOLE}/signed-in/../../x",
        f"{CONSOLE}.attacker.example/signed-in",
        f"{CONSOLE}/grants",
        f"{CONSOLE.replace('https', 'http')}/signed-in",
    ],
)
async def test_a_redirect_to_a_foreign_address_is_none(parts: Grantline, uri: str) -> None:
    """The registrations list two exact addresses: Microsoft gives no code to any other (RFC 9700, 2.1)."""
    grant_id = await parts.start(new_account())
    address = with_query(await Visitor(parts).begin(grant_id), redirect_uri=uri)

    async with Browser(parts.facts["ca_file"], stop_at=uri) as browser:
        page = await browser.open(address)

    assert page.url.startswith(parts.facts["url"])
    assert "AADSTS50011" in page.words


# --- downgrade and substitution ------------------------------------------------------------------------------------------------


async def test_every_sign_in_asks_for_proof_of_possession_of_the_code(parts: Grantline) -> None:
    """Each address has a challenge of its own with S256, a nonce and a state of 256 bits (RFC 9700, 2.1.1)."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())

    asked = [query_of(await visitor.begin(grant_id)) for _ in range(3)]

    for name in ("code_challenge", "nonce", "state"):
        assert len({each[name] for each in asked}) == 3, name
    for each in asked:
        assert each["code_challenge_method"] == "S256"
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", each["code_challenge"])
        assert (each["response_type"], each["response_mode"]) == ("code", "query")


@pytest.mark.parametrize("changes", [{"code_challenge_method": "plain"}, {"code_challenge": "short"}])
async def test_a_weaker_challenge_gets_no_code(parts: Grantline, changes: dict[str, str]) -> None:
    """An address that was changed on its way (RFC 9700, 4.8) to a weaker challenge comes back as an error."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())

    redirect = await visitor.at_microsoft(with_query(await visitor.begin(grant_id), **changes))

    assert "code" not in query_of(redirect)
    await refused(parts, grant_id, redirect, visitor.cookie)


async def test_a_changed_challenge_is_found_at_the_token_endpoint(parts: Grantline) -> None:
    """A code that was asked for with another challenge, such as an attacker's own, does not open with our verifier."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    theirs = query_of(await Visitor(parts).begin(grant_id))["code_challenge"]

    redirect = await visitor.at_microsoft(with_query(await visitor.begin(grant_id), code_challenge=theirs))

    assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "sign_in_again"


SUBSTITUTED: Mapping[str, Mapping[str, Any]] = {
    "another tenant's": {"tid": str(uuid4())},
    "another person's": {"oid": str(uuid4())},
    "another client's": {"appid": str(uuid4())},
    "another service's": {"aud": "https://outlook.office365.com"},
}


@pytest.mark.parametrize("kind", SUBSTITUTED)
async def test_another_access_token_for_the_role_is_not_sealed(
    parts: Grantline, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A token that is not of this sign-in is not used in this tenant, nor kept (RFC 9700, 2.3, 4.10)."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    redirect = await visitor.redirected(grant_id, ROLE)

    with forged(monkeypatch, "delegated", **SUBSTITUTED[kind]):
        assert (await refused(parts, grant_id, redirect, visitor.cookie)).code == "sign_in_not_proved"

    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None


async def test_a_sealed_token_of_another_grant_does_not_open(parts: Grantline) -> None:
    """Whoever can write rows can't have one grant's administrator act for another grant: the seal tells the place."""
    first, second = await parts.start(new_account()), await parts.start(new_account())
    await parts.until(first, ROLE)
    await parts.act(first, ROLE)
    stolen = await parts.container.storage.grants.row(first, SEALED_ROW)
    assert stolen
    await parts.until(second, ROLE, "admin@fabrikam.onmicrosoft.com")
    await parts.act(second, ROLE, "admin@fabrikam.onmicrosoft.com")
    store = parts.container.storage.grants
    row = next(each for each in await store.rows(first, SEALED_ROW) if each.key == SEALED_ROW)
    await store.put(second, row)

    grant = await parts.work(second, ROLE)

    found = grant.steps[ROLE].problem
    assert found
    assert (grant.steps[ROLE].state, found.code) == (StepState.WAITING_FOR_PERSON, "sign_in_again")


async def test_a_second_factor_is_asked_for_once_the_tenant_wants_one(parts: Grantline) -> None:
    """After the tenant's policy refused for the want of one, the next sign-in for the role is a new one, with a second factor."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    plain = query_of(await visitor.begin(grant_id, ROLE))
    assert not {"prompt", "claims"} & set(plain)

    def ask_for_it(grant: Grant, _now: object) -> Decision:
        step = grant.steps[ROLE]
        return Decision(grant.with_step(replace(step, facts={**step.facts, MFA_ASKED: True})))

    await parts.container.engine.commit(grant_id, ask_for_it)

    asked = query_of(await visitor.begin(grant_id, ROLE))
    assert asked["prompt"] == "login"
    assert json.loads(asked["claims"]) == {"access_token": {"amr": {"essential": True, "values": ["mfa"]}}}
    other = query_of(await visitor.begin(grant_id, DIRECTORY))
    assert not {"prompt", "claims"} & set(other)


async def test_a_verifier_opens_in_its_own_state_alone(parts: Grantline) -> None:
    """A sealed verifier that is moved to another state's row opens nothing there."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    one, other = await visitor.redirected(grant_id), await visitor.redirected(grant_id)
    grants = parts.container.storage.grants
    keys = [row_key(query_of(each)["state"]) for each in (one, other)]
    rows = {row.key: row for row in await grants.rows(grant_id, "consent|")}
    moved = replace(rows[keys[0]], value={**rows[keys[0]].value, "sealed_verifier": rows[keys[1]].value["sealed_verifier"]})
    await grants.put(grant_id, moved)

    assert (await refused(parts, grant_id, one, visitor.cookie)).code == "sign_in_failed"


async def test_no_refresh_token_is_asked_for(parts: Grantline) -> None:
    """Nothing outlives the step: ``offline_access`` is in no scope, of any step (RFC 9700, 2.2.2)."""
    visitor = Visitor(parts)
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)

    for step in (ROLE, DIRECTORY):
        scopes = query_of(await visitor.begin(grant_id, step))["scope"].split()
        assert "offline_access" not in scopes
        assert scopes[:2] == ["openid", "profile"]
    assert SignInRequest.__dataclass_fields__["scopes"].default == ()


async def test_every_redirect_of_ours_is_a_303(parts: Grantline) -> None:
    """After a form or a link, a browser goes on with GET and takes nothing along (RFC 9700, 4.12)."""
    visitor, site = Visitor(parts), parts.container.site
    grant_id = await parts.start(new_account())
    begun = await ask(site, "consent_begin", visitor.cookie, operator(), grant_id=grant_id, step=MAIL_FLOW)
    redirect = await visitor.at_microsoft(begun.headers["location"])
    queries = {"consent_signed_in": redirect}
    queries["consent_consented"] = await visitor.at_microsoft(await visitor.take(redirect))

    replies = [begun, await ask(site, "consent_release", visitor.cookie, operator(), grant_id=str(grant_id))]
    for name, url in queries.items():
        request = Request("GET", urlsplit(url).path, query=query_of(url), headers=cookie_of(parts.settings, visitor.cookie))
        replies.append(await site.answer(name, request, ROUTES[name].view))

    assert [reply.status for reply in replies if "location" in reply.headers] == [303] * 3
    assert see_other("/").status == 303
