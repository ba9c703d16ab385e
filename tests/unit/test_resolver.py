"""The DNS is asked of the one configured server, and whatever comes back is evidence."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from shared import resolver as module
from shared.ports import MxAnswer
from shared.resolver import DnsResolver

LOOPBACK = "127.0.0.1"
Answer = Callable[[dns.message.Message], dns.message.Message | None]


class _Server(asyncio.DatagramProtocol):
    """Answers each question as a function says; None: it stays silent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Remember where answers go."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        query = dns.message.from_wire(data)
        self.asked.append(query.question[0].to_text())
        response = self.answer(query)
        if response:
            self._transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def _served(answer: Answer) -> AsyncIterator[tuple[DnsResolver, _Server]]:
    """Give a resolver that asks a server which answers so."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Server(answer), (LOOPBACK, 0))
    try:
        yield DnsResolver(LOOPBACK, transport.get_extra_info("sockname")[1]), server
    finally:
        transport.close()


def _records(*values: str) -> Answer:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        if values:
            response.answer.append(dns.rrset.from_text(query.question[0].name, 300, "IN", "MX", *values))
        return response

    return answer


def _refusal(code: str) -> Answer:
    def answer(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(dns.rcode.from_text(code))
        return response

    return answer


async def test_the_preferred_host_comes_first() -> None:
    """Hosts come by preference, in lower case, without a dot at the end; the question is the domain's own, for MX."""
    async with _served(_records("20 Second.Example.", "10 first.example.", "10 first.example.")) as (resolver, server):
        assert await resolver.mail_exchangers("Contoso.com") == MxAnswer(("first.example", "second.example"))
        assert server.asked == ["Contoso.com. IN MX"]


@pytest.mark.parametrize(
    ("answer", "error", "is_answered"),
    [
        (_refusal("NXDOMAIN"), "NXDOMAIN", True),
        (_records(), "no MX record", True),
        (_records("0 ."), "takes no mail", True),
        (_refusal("SERVFAIL"), "SERVFAIL", False),
        (_refusal("REFUSED"), "SERVFAIL or refused", False),
    ],
    ids=["nxdomain", "nothing", "null mx", "servfail", "refused"],
)
async def test_what_is_no_host_is_told(answer: Answer, error: str, is_answered: bool) -> None:
    """A domain without mail is an answer; a resolver that can't tell is none. Neither raises."""
    async with _served(answer) as (resolver, _):
        found = await resolver.mail_exchangers("contoso.com")

    assert (found.hosts, found.is_answered) == ((), is_answered)
    assert error in found.error


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers is given up after a short time, and named by nothing but that."""
    monkeypatch.setattr(module, "LIFETIME", 0.2)
    monkeypatch.setattr(module, "TRY", 0.1)
    async with _served(lambda _: None) as (resolver, _):
        found = await resolver.mail_exchangers("contoso.com")

    assert found == MxAnswer(is_answered=False, error="no answer within 0.2 seconds")


async def test_a_lost_question_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One lost datagram is no missing record."""
    monkeypatch.setattr(module, "TRY", 0.1)
    lost = [True]
    answer = _records("10 first.example.")
    async with _served(lambda query: None if lost and lost.pop() else answer(query)) as (resolver, server):
        assert (await resolver.mail_exchangers("contoso.com")).hosts == ("first.example",)
        assert len(server.asked) == 2


@pytest.mark.parametrize("domain", ["", ".", "a..b", "x" * 64 + ".com", "\x00.com", "a" * 300, "💥.example"])
async def test_no_name_is_too_odd(domain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no domain name comes to an answer without hosts, never to a crash."""
    monkeypatch.setattr(module, "LIFETIME", 0.5)
    async with _served(_refusal("NXDOMAIN")) as (resolver, _):
        found = await resolver.mail_exchangers(domain)

    assert found.hosts == ()
    assert found.error


async def test_the_machines_own_resolver_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's configuration is not even read."""

    def read(*_: Any) -> None:
        raise AssertionError("the system's configuration was read")

    monkeypatch.setattr("dns.resolver.BaseResolver.read_resolv_conf", read)
    async with _served(_records("10 first.example.")) as (resolver, _):
        assert (await resolver.mail_exchangers("contoso.com")).hosts == ("first.example",)
