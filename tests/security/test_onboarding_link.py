"""What an onboarding link's token is worth: only one that we signed for this purpose, to one browser, for a while."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from shared.consent import onboarding
from shared.consent.onboarding import HOLDER_LIFETIME, LINK_LIFETIME, Link, Sent, Standing, Use
from shared.consent.sealing import derive
from shared.consent.state import digest
from shared.domain import decide
from shared.domain.grant import Direction, Grant, Intent, Scope
from shared.domain.problems import ProblemError

KEY = SecretStr(urlsafe_b64encode(bytes(range(32))).decode())
OTHER_KEY = SecretStr(urlsafe_b64encode(bytes(32)).decode())
NOW = datetime(2026, 3, 2, 9, 30, 15, 987654, tzinfo=UTC)
LINK = onboarding.new_link("00000000-0000-4000-8000-00000000000a", "the-link", NOW)
SENT = Sent(LINK, "operator@vendor.example")
BROWSER, OTHER_BROWSER = "b" * 43, "o" * 43
PURPOSE = "grantline onboarding link v1"
CLAIMS = {"aud": "grantline-onboarding", "sub": LINK.grant_id, "jti": LINK.link_id, "exp": int(LINK.expires_at.timestamp())}
TENANT = "11111111-1111-4111-8111-111111111111"


def grant() -> Grant:
    """Return a new grant."""
    intent = Intent((Direction.INBOUND,), Scope(), "standard")
    made = decide.create(grant_id=LINK.grant_id, account_id="a", account_name="A", intent=intent, created_by="o", now=NOW)
    return made.grant


def test_a_link_reads_as_it_was_signed() -> None:
    """To the second; the same link has the same token, which stands in an address as it is."""
    token = onboarding.sign(KEY, LINK)

    assert onboarding.read(KEY, token) == LINK
    assert onboarding.sign(KEY, LINK) == token
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert LINK.expires_at == NOW.replace(microsecond=0) + LINK_LIFETIME


def forged(**changes: Any) -> str:
    """Return a token with the right key, and some claims changed; those that are None are left out."""
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}
    return jwt.encode(claims, derive(KEY, PURPOSE), algorithm="HS256")


def unsigned(algorithm: str) -> str:
    """Return a token that says how it is signed, and is not."""
    parts = ({"alg": algorithm, "typ": "JWT"}, CLAIMS)
    return ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def test_the_forgeries_below_are_near_misses() -> None:
    """With nothing changed they would be taken."""
    assert onboarding.read(KEY, forged()) == LINK


@pytest.mark.parametrize(
    "token",
    [
        *("", "x", "a.b.c", "ключ", "." * 5000, "%2e%2e/", onboarding.sign(KEY, LINK)[:-2], onboarding.sign(OTHER_KEY, LINK)),
        *(unsigned("none"), unsigned("HS256"), unsigned("RS256")),
        *(forged(aud="another"), forged(aud=None), forged(sub=None), forged(jti=None), forged(exp=None), forged(exp="soon")),
        *(forged(sub=7), forged(sub=["x"]), forged(jti=7), forged(aud=7), forged(nbf=4102444800)),
        jwt.encode(CLAIMS, derive(KEY, "grantline form token v1"), algorithm="HS256"),
        jwt.encode(CLAIMS, urlsafe_b64decode(KEY.get_secret_value()), algorithm="HS256"),
        jwt.encode(CLAIMS, derive(KEY, PURPOSE) * 2, algorithm="HS512"),
    ],
)
def test_any_other_text_is_no_link(token: str) -> None:
    """Cut, changed, unsigned, signed with another key or for another purpose, or without a claim: told in words, nothing else."""
    with pytest.raises(ProblemError) as caught:
        onboarding.read(KEY, token)

    assert caught.value.problem.code == "onboarding_unknown"


USED = Use(digest(BROWSER), NOW)
NEWER = Sent(onboarding.new_link(LINK.grant_id, "a-newer-link", NOW), "operator@vendor.example")
MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("sent", "use", "browser", "at", "standing"),
    [
        (SENT, None, BROWSER, NOW, Standing.OPEN),
        (SENT, None, "", NOW, Standing.OPEN),
        (SENT, None, BROWSER, LINK.expires_at - MOMENT, Standing.OPEN),
        (SENT, None, BROWSER, LINK.expires_at, Standing.EXPIRED),
        (SENT, USED, BROWSER, NOW, Standing.HELD),
        (SENT, USED, BROWSER, NOW + HOLDER_LIFETIME - MOMENT, Standing.HELD),
        (SENT, USED, BROWSER, NOW + HOLDER_LIFETIME, Standing.EXPIRED),
        (SENT, Use(digest(BROWSER), LINK.expires_at - MOMENT), BROWSER, LINK.expires_at, Standing.HELD),
        (SENT, USED, OTHER_BROWSER, NOW, Standing.USED),
        (SENT, USED, "", NOW, Standing.USED),
        (SENT, Use(digest(""), NOW), "", NOW, Standing.USED),
        (NEWER, None, BROWSER, NOW, Standing.REPLACED),
        (NEWER, USED, BROWSER, NOW, Standing.REPLACED),
        (None, None, BROWSER, NOW, Standing.REPLACED),
    ],
)
def test_what_a_link_is_worth(sent: Sent | None, use: Use | None, browser: str, at: datetime, standing: Standing) -> None:
    """Only the newest link counts; unused, for anyone, 72 hours; used, for the browser that used it, 24 hours from then on."""
    assert onboarding.judge(LINK, sent, use, browser, at) is standing


def test_a_link_with_another_expiry_is_not_the_one_that_was_sent() -> None:
    """The row says how long a link lives: a token with the same id and a later end counts for nothing."""
    longer = Link(LINK.grant_id, LINK.link_id, LINK.expires_at + timedelta(days=1))

    assert onboarding.judge(longer, SENT, None, BROWSER, NOW) is Standing.REPLACED


def test_rows_come_back_as_they_were_written() -> None:
    """The link and its use; of the browser only a hash, of the token nothing."""
    row = onboarding.to_row(SENT)
    used = onboarding.used(grant(), SENT, BROWSER, NOW)

    assert onboarding.sent_of(LINK.grant_id, row.value) == SENT
    assert onboarding.use_of(used.rows[0].value) == Use(digest(BROWSER), NOW.replace(microsecond=987000))
    for text in (json.dumps(dict(row.value)), json.dumps(dict(used.rows[0].value))):
        assert BROWSER not in text
        assert onboarding.sign(KEY, LINK) not in text


def test_creating_and_using_are_events_that_tell_who_and_no_more() -> None:
    """One event with each row, in one transaction; neither token nor hash stands in it."""
    made, used = onboarding.created(grant(), SENT, NOW, tenant_id=TENANT), onboarding.used(grant(), SENT, BROWSER, NOW)

    assert made
    assert [(each.type, each.data["actor"]) for each in made.events] == [("onboarding_link.created", "operator@vendor.example")]
    assert [(each.type, each.data["sent_by"]) for each in used.events] == [("onboarding_link.used", "operator@vendor.example")]
    assert [row.key for row in (*made.rows, *used.rows)] == ["onboarding", "link_used|the-link"]
    text = json.dumps([dict(each.data) for each in (*made.events, *used.events)])
    assert digest(BROWSER) not in text
    assert onboarding.sign(KEY, LINK) not in text


def test_a_link_pins_the_tenant_that_the_operator_knows() -> None:
    """The grant is for that tenant alone from then on; a link for another one is refused, a link for none changes nothing."""
    pinned = onboarding.created(grant(), SENT, NOW, tenant_id=TENANT)

    assert pinned
    assert pinned.grant.pinned_tenant == TENANT
    assert onboarding.created(pinned.grant, SENT, NOW, tenant_id="22222222-2222-4222-8222-222222222222") is None
    again = onboarding.created(pinned.grant, SENT, NOW, tenant_id="")
    assert again
    assert again.grant.pinned_tenant == TENANT
