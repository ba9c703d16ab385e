"""No secret, token, code or verifier lies in a table in clear, in a message, in a log, on a page or in an answer of the API.

A whole grant is run, with a few things going wrong on the way; then everything that it left is read and searched.
"""

import json
import logging
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import pytest_asyncio
from azure.data.tables.aio import TableServiceClient
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from local.microsoft365.faults import Fault, Match
from shared.consent import sealing
from shared.consent.sealing import SEALED_ROW
from shared.consent.state import row_key
from shared.domain import decide, schedule
from shared.domain.grant import GrantState, RoleMode
from shared.domain.steps import Queue, StepName, StepState
from shared.mailflow.verdict import verdict_secret
from shared.messages import ChooseRoleMode
from shared.web.http import Request
from shared.workflows.run import Run
from shared.workflows.table import WORKFLOWS
from tests.security.routes import ROUTES
from tests.security.visitor import Visitor, begin_anew, cookie_of, new_account, operator, query_of, with_query
from tests.security.visitor import ask as ask_route
from tests.support.grantline import Grantline

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]{5,}")
"""A JSON web token (RFC 7519): header and claims begin with a brace, which is eyJ in base64url."""
ROLE = StepName.ROLE_ASSIGNMENT
PERSONS_STEPS = (StepName.MAIL_FLOW_CONSENT, ROLE, StepName.DIRECTORY_CONSENT)


@dataclass
class Kept:
    """Everything that a whole grant left behind, and the secrets that were in play."""

    secrets: dict[str, str] = field(default_factory=dict)
    """By what they are."""
    logs: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    """What was put on a queue, and what lies there, decoded."""
    answers: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    def everything(self) -> Iterator[tuple[str, str]]:
        """Yield each text with the kind of place that it was found in."""
        for place in ("logs", "messages", "answers", "rows"):
            yield from ((place, text) for text in getattr(self, place))


class Ear(logging.Handler):
    """Keeps every record as it was logged: without the filter that redacts what the deployed handlers write."""

    def __init__(self, heard: list[str]) -> None:
        """Add a line to ``heard`` for each record, whatever its level."""
        super().__init__(logging.DEBUG)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self._heard.append(f"{record.name}: {logging.Formatter().format(record)}")


@contextmanager
def listening(kept: Kept) -> Iterator[None]:
    """Have ``kept`` hear every log record and see every message that is sent."""
    root, send, ear = logging.getLogger(), QueueClient.send_message, Ear(kept.logs)
    level = root.level

    async def recorded(self: QueueClient, content: Any, **more: Any) -> Any:
        kept.messages.append(f"{self.queue_name}: {content}")
        return await send(self, content, **more)

    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QueueClient, "send_message", recorded)
        try:
            yield
        finally:
            root.setLevel(level)
            root.removeHandler(ear)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(running: Grantline) -> AsyncIterator[Kept]:
    """Run a whole grant and give what it left behind."""
    await begin_anew(running)
    kept = Kept()
    with listening(kept):
        await whole_grant(running, kept)
        await read_tables(running, kept)
        await read_queues(running, kept)
    yield kept


async def whole_grant(parts: Grantline, kept: Kept) -> None:
    """Run a grant to its end by the console's own front door, with pages looked at and redirects refused on the way."""
    grant_id = await parts.start(new_account())
    visitor = Visitor(parts)
    kept.secrets |= {
        "sealing key": parts.settings.sealing_key.get_secret_value(),
        "sealing key, raw": urlsafe_b64decode(parts.settings.sealing_key.get_secret_value()).hex(),
        "verdict secret": verdict_secret(parts.settings.sealing_key, grant_id),
        "cookie": visitor.cookie,
        "password": parts.person()["password"],
        **{f"client secret of {name}": each["client_secret"] for name, each in parts.facts["applications"].items()},
    }
    await invited(parts, kept, visitor, grant_id)
    await parts.container.inbox.receive(Queue.VERIFICATIONS, json.dumps({"grant_id": grant_id, "step": ROLE}).encode())
    for step in PERSONS_STEPS:
        await parts.until(grant_id, step) if step is not ROLE else None
        await persons_step(parts, kept, visitor, grant_id, step)
        await look(parts, kept, grant_id)
        await parts.settle(grant_id, step)
    await parts.until(grant_id, StepName.POLICY_ACTIVATION)
    grant = await parts.settle(grant_id, StepName.POLICY_ACTIVATION)
    await parts.work(grant_id, StepName.MAIL_PROOF)  # it orders test messages on a queue of their own
    await look(parts, kept, grant_id)
    assert grant.state is GrantState.COMPLETED


async def invited(parts: Grantline, kept: Kept, visitor: Visitor, grant_id: str) -> None:
    """Have an operator create onboarding links, and the visitor use the newer one; what the operator is shown is not kept."""
    site = parts.container.site
    for number in range(2):
        headers = {**operator(), "idempotency-key": f'"link-{number}"'}
        shown = await ask_route(site, "api_onboarding_link", visitor.cookie, headers, grant_id=grant_id)
        kept.secrets[f"onboarding link {number}"] = json.loads(shown.body)["address"].rpartition("/")[2]
    for number, route in ((0, "onboarding_open"), (1, "onboarding_open"), (1, "onboarding_accept"), (1, "onboarding_open")):
        reply = await ask_route(site, route, visitor.cookie, token=kept.secrets[f"onboarding link {number}"])
        kept.answers += [str(reply.body), reply.headers.get("location", "")]
    assert reply.headers["location"] == f"/grants/{grant_id}"


async def persons_step(parts: Grantline, kept: Kept, visitor: Visitor, grant_id: str, step: StepName) -> None:
    """Do a person's step: once cancelled, once with a wrong code, once right, and once more by a reload."""
    location = await ask(parts, kept, visitor, f"/grants/{grant_id}/steps/{step}/begin")
    cancelled = with_query(location.partition("?")[0], error="access_denied", state=query_of(location)["state"])
    await ask(parts, kept, visitor, cancelled.replace(location.partition("?")[0], f"{parts.settings.public_url}/signed-in"))
    while not location.startswith("/"):
        await remember_verifiers(parts, kept, grant_id, query_of(location).get("state", ""))
        redirect = await visitor.at_microsoft(location)
        if code := query_of(redirect).get("code"):
            kept.secrets[f"code of {step}"] = code
        location = await ask(parts, kept, visitor, redirect)
        await ask(parts, kept, visitor, redirect)
    row = await parts.container.storage.grants.row(grant_id, SEALED_ROW)
    if row:
        place = sealing.sealed_place(grant_id, (await parts.grant(grant_id)).tenant_id)
        kept.secrets["administrator's token"] = sealing.unseal(parts.settings.sealing_key, row["sealed"], place=place)
        await read_tables(parts, kept)


async def remember_verifiers(parts: Grantline, kept: Kept, grant_id: str, state: str) -> None:
    """Note the PKCE verifier that lies sealed for a state."""
    row = await parts.container.storage.grants.row(grant_id, row_key(state))
    if row and row["sealed_verifier"]:
        verifier = sealing.unseal(parts.settings.sealing_key, row["sealed_verifier"], place=row_key(state))
        kept.secrets[f"verifier {len(kept.secrets)}"] = verifier


NAMES: Mapping[str, str] = {
    "": "console_dashboard",
    "service-accounts": "console_service_accounts",
    "grant-access": "console_grant_access",
    "grants": "console_grant",
    "live": "console_live",
    "history": "console_history",
    "begin": "consent_begin",
    "signed-in": "consent_signed_in",
    "consented": "consent_consented",
    "api": "api_grant",
    "receipt": "api_receipt",
    "events": "api_events",
    "healthz": "healthz",
}
"""Which route has an address, by the last word of its path that is no name."""


async def ask(parts: Grantline, kept: Kept, visitor: Visitor, url: str) -> str:
    """Ask the console for an address with the visitor's cookie; keep the answer's body, and return where it leads."""
    path = url.removeprefix(parts.settings.public_url).partition("?")[0]
    words = path.strip("/").split("/")
    name = words[-1] if words[-1] in NAMES else words[0]
    route = ROUTES[NAMES[name]]
    grant_id = next((word for word in words if len(word) == 36), "")
    request = Request(
        "GET",
        path,
        query=query_of(url),
        route={"grant_id": grant_id, "step": words[-2] if name == "begin" else ""},
        headers={**operator(), **cookie_of(parts.settings, visitor.cookie)},
    )
    reply = await parts.container.site.answer(route.name, request, route.view)
    kept.answers.append(reply.body if isinstance(reply.body, str) else reply.body.decode())
    return reply.headers.get("location", "")


async def look(parts: Grantline, kept: Kept, grant_id: str) -> None:
    """Keep every page and every answer of the API as it is now."""
    visitor = Visitor(parts)
    pages = (
        "/",
        "/service-accounts",
        "/grant-access",
        f"/grants/{grant_id}",
        f"/grants/{grant_id}/live",
        f"/grants/{grant_id}/history",
    )
    calls = (f"/api/v1/grants/{grant_id}", f"/api/v1/grants/{grant_id}/receipt", f"/api/v1/grants/{grant_id}/events", "/healthz")
    for path in (*pages, *calls):
        await ask(parts, kept, visitor, path)


def connection_of(parts: Grantline) -> str:
    """Return the storage account's connection string."""
    connection = parts.settings.storage_connection
    assert connection
    return connection.get_secret_value()


async def read_tables(parts: Grantline, kept: Kept) -> None:
    """Keep every row of every table, as Table storage has it."""
    async with TableServiceClient.from_connection_string(connection_of(parts)) as service:
        async for each in service.list_tables():
            async for row in service.get_table_client(each.name).list_entities():
                kept.rows.append(f"{each.name}: {json.dumps(dict(row), default=str)}")


async def read_queues(parts: Grantline, kept: Kept) -> None:
    """Keep the messages that lie on every queue, at most 32 of each, decoded."""
    async with QueueServiceClient.from_connection_string(connection_of(parts)) as service:
        async for each in service.list_queues():
            for message in await service.get_queue_client(each.name).peek_messages(max_messages=32):
                kept.messages.append(f"{each.name}: {b64decode(message.content).decode()}")


# --- nothing in clear ----------------------------------------------------------------------------------------------------------


async def test_everything_was_looked_at(kept: Kept) -> None:
    """The search below is worth something: every kind of place and of secret is there."""
    tables = {row.partition(":")[0] for row in kept.rows}
    queues = {message.partition(":")[0] for message in kept.messages}

    assert tables == {"grants", "bindings", "due", "accounts", "deadletters", "directory"}
    assert queues == set(Queue)
    assert any(line.startswith("shared.engine") for line in kept.logs)
    assert any("redirect of grant" in line for line in kept.logs)
    assert len(kept.answers) > 30
    assert any(f'"RowKey": "{SEALED_ROW}"' in row for row in kept.rows)
    kinds = {re.sub(r" of .*|, raw| \d+", "", kind) for kind in kept.secrets}
    assert kinds == {
        *("sealing key", "verdict secret", "cookie", "password", "client secret"),
        *("code", "verifier", "administrator's token", "onboarding link"),
    }
    assert all(len(secret) >= 12 for secret in kept.secrets.values())


async def test_no_secret_lies_in_clear(kept: Kept) -> None:
    """Not in tables, messages, logs, pages or the API; not percent-encoded either."""
    forms = {kind: {secret, quote(secret, safe="")} for kind, secret in kept.secrets.items()}

    found = {
        f"{kind} in {place}: {text[:200]}"
        for place, text in kept.everything()
        for kind, spellings in forms.items()
        if any(spelling in text for spelling in spellings)
    }

    assert found == set()


async def test_no_token_lies_in_clear(kept: Kept) -> None:
    """Nothing that looks like a token of Microsoft's, whosever it is."""
    assert [f"{place}: {text[:200]}" for place, text in kept.everything() if TOKEN.search(text)] == []


# --- the administrator's token -------------------------------------------------------------------------------------------------


async def sealed_for_the_role(parts: Grantline) -> tuple[str, Mapping[str, Any]]:
    """Take a grant to where the administrator has signed in for the role; return its id and the sealed row."""
    grant_id = await parts.start(new_account())
    await parts.until(grant_id, ROLE)
    await parts.act(grant_id, ROLE)
    row = await parts.container.storage.grants.row(grant_id, SEALED_ROW)
    assert row
    return grant_id, row


async def test_the_sealed_token_opens_in_its_place_only_and_not_for_long(parts: Grantline) -> None:
    """Its row holds a sealed text and an end within 30 minutes; it is a token for the one permission of the role helper."""
    before = parts.clock()
    grant_id, row = await sealed_for_the_role(parts)
    tenant_id = (await parts.grant(grant_id)).tenant_id

    assert set(row) == {"sealed", "expires_at"}
    assert before < schedule.parse(row["expires_at"]) <= parts.clock() + timedelta(minutes=30)
    assert not TOKEN.search(json.dumps(dict(row)))
    key = parts.settings.sealing_key
    token = sealing.unseal(key, row["sealed"], place=sealing.sealed_place(grant_id, tenant_id))
    claims = jwt.decode(token, options={"verify_signature": False})
    assert sealing.ROLE_SCOPE in claims["scp"].split()
    with pytest.raises(sealing.SealError):
        sealing.unseal(key, row["sealed"], place=sealing.sealed_place(grant_id, "another-tenant"))


async def test_the_sealed_token_is_gone_with_the_first_outcome(parts: Grantline) -> None:
    """The role is assigned and its effect still awaited: the token has done its part and is deleted with that outcome."""
    parts.simulation.settings = parts.simulation.settings.changed({"role_delay": 3600.0})
    grant_id, _ = await sealed_for_the_role(parts)

    grant = await parts.work(grant_id, ROLE)

    assert grant.steps[ROLE].state is StepState.WAITING
    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None


async def test_a_token_that_lay_too_long_is_not_used(parts: Grantline) -> None:
    """After its end the administrator is asked to sign in once more, and the row is gone."""
    grant_id, row = await sealed_for_the_role(parts)
    parts.clock.advance_to(schedule.parse(row["expires_at"]))

    grant = await parts.work(grant_id, ROLE)

    found = grant.steps[ROLE].problem
    assert found
    assert found.code == "sign_in_again"
    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None


async def test_an_expired_token_is_deleted_by_the_next_run(parts: Grantline) -> None:
    """A run that can not look, because Exchange is away, keeps the token for another try; after its end the row goes."""
    grant_id, row = await sealed_for_the_role(parts)
    parts.simulation.faults.add(Fault(Match(path="/adminapi/.*"), times=100, status=503))

    grant = await parts.work(grant_id, ROLE)
    assert grant.steps[ROLE].state is StepState.WAITING
    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is not None
    parts.clock.advance_to(schedule.parse(row["expires_at"]))
    grant = await parts.work(grant_id, ROLE)

    assert grant.steps[ROLE].state is StepState.WAITING
    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None


async def test_the_sweep_brings_that_run(parts: Grantline) -> None:
    """No message is needed for it: a step with a token has a clock, and the sweep nudges whatever is due."""
    grant_id, row = await sealed_for_the_role(parts)

    clock = (await parts.grant(grant_id)).steps[ROLE].clock

    assert clock
    assert clock < schedule.parse(row["expires_at"])


@pytest.mark.parametrize("role_mode", [RoleMode.APPLICATION, RoleMode.BY_HAND, RoleMode.ROLE_GROUP])
async def test_another_way_to_the_role_takes_the_token_along(parts: Grantline, role_mode: RoleMode) -> None:
    """What was handed over for one way is of no use for another."""
    grant_id, _ = await sealed_for_the_role(parts)
    wish = {"type": "role_mode.choose", "command_id": f"to-{role_mode}", "grant_id": grant_id, "role_mode": role_mode}

    await parts.container.site.commands.execute(ChooseRoleMode.model_validate({**wish, "requested_by": "a test"}))

    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None


async def test_a_released_grant_keeps_no_token(parts: Grantline) -> None:
    """Giving the tenant back deletes what was handed over, in its transaction."""
    grant_id, _ = await sealed_for_the_role(parts)

    await parts.container.engine.commit(grant_id, lambda grant, now: decide.release(grant, now, actor="x", why="y"))

    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None


@pytest.mark.parametrize("role_mode", RoleMode)
async def test_a_whole_role_step_leaves_no_token_on_any_way(parts: Grantline, role_mode: RoleMode) -> None:
    """Every table, message, log record, page and answer of the API, after the person's part and after the outcome."""
    kept, visitor = Kept(), Visitor(parts)
    grant_id = await parts.start(new_account(), role_mode=role_mode)
    await parts.until(grant_id, ROLE)
    with listening(kept):
        for _ in range(3):
            grant = await parts.grant(grant_id)
            if decide.awaits_sign_in(grant, ROLE):
                await persons_step(parts, kept, visitor, grant_id, ROLE)
            await parts.work(grant_id, ROLE)
            await read_tables(parts, kept)
            await look(parts, kept, grant_id)
        await read_queues(parts, kept)

    assert ("administrator's token" in kept.secrets) is (role_mode is RoleMode.SIGN_IN)
    assert await parts.container.storage.grants.row(grant_id, SEALED_ROW) is None
    secrets = [*kept.secrets.values(), *issued(parts)]
    assert [f"{place}: {text[:200]}" for place, text in kept.everything() if TOKEN.search(text)] == []
    assert [place for place, text in kept.everything() for secret in secrets if secret in text] == []
    assert kept.rows
    assert kept.logs


def issued(parts: Grantline) -> list[str]:
    """Return the secrets of the installation."""
    return [each["client_secret"] for each in parts.facts["applications"].values()]


# --- errors that nobody foresaw ------------------------------------------------------------------------------------------------


async def test_an_unforeseen_error_shows_no_secret(parts: Grantline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever text an error has, what is kept of it and told of it is free of tokens, codes and secrets."""
    token = jwt.encode({"sub": "somebody"}, "a key that is long enough for HS256", algorithm="HS256")
    secret, code, bearer = "s3cret~of.an-application", "0.AXoA-code", "opaque-bearer-token"

    async def failing(_run: Run) -> Any:
        text = f"{token} client_secret={secret}&x=1 https://console.example.com/signed-in?code={code} Bearer {bearer}"
        raise RuntimeError(text)

    grant_id = await parts.start(new_account())
    await parts.act(grant_id, StepName.MAIL_FLOW_CONSENT)
    monkeypatch.setitem(WORKFLOWS, StepName.MAIL_FLOW_CONSENT, failing)
    told = Kept()
    with listening(told):
        grant = await parts.settle(grant_id, StepName.MAIL_FLOW_CONSENT)

    found = grant.steps[StepName.MAIL_FLOW_CONSENT].problem
    assert found
    assert found.code == "unexpected"
    assert "RuntimeError" in found.raw
    await read_tables(parts, told)
    await look(parts, told, grant_id)
    assert any("RuntimeError" in line for line in told.logs)
    for place, text in told.everything():
        assert not [each for each in (token, secret, code, bearer) if each in text], place
