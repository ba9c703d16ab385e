"""The simulated DNS, asked by a real client over UDP and TCP."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest

from local.microsoft365.dns import DnsFault, DnsRecords, serve_dns
from local.microsoft365.dns.records import Records, Trouble
from local.microsoft365.model import Domain
from local.microsoft365.seed import default_seeds, make_tenant
from local.microsoft365.service_records import mail_host
from tests.microsoft365.platform import Platform

SECONDS = 5.0


@dataclass
class Resolver:
    """The server's data, and a client of it."""

    records: DnsRecords
    host: str
    port: int

    async def ask(self, name: str, kind: str = "MX", **options: Any) -> dns.message.Message:
        """Ask over UDP, and over TCP where the answer was cut."""
        query = dns.message.make_query(name, kind, **options)
        answer, _ = await dns.asyncquery.udp_with_fallback(query, self.host, SECONDS, self.port)
        return answer

    async def texts(self, name: str, kind: str = "MX") -> list[str]:
        """Return the records of an answer as a zone file writes them."""
        return [each.to_text() for rrset in (await self.ask(name, kind)).answer for each in rrset]


@asynccontextmanager
async def resolver() -> AsyncIterator[Resolver]:
    """A DNS server for the two tenants of every simulation."""
    tenants = {seed.tenant_id: make_tenant(seed) for seed in default_seeds(12)}
    records = DnsRecords(tenants)
    async with serve_dns(records) as address:
        host, _, port = address.rpartition(":")
        yield Resolver(records, host, int(port))


async def test_a_tenants_domain_is_published_as_microsoft_asks() -> None:
    """MX, SPF and autodiscover; letter case doesn't matter; the answer says that it was looked up for the client."""
    async with resolver() as client:
        answer = await client.ask("ConTOSO.com")
        texts = [await client.texts("contoso.com", "TXT"), await client.texts("autodiscover.contoso.com", "CNAME")]

    assert [each.to_text() for each in answer.answer[0]] == ["0 contoso-com.mail.protection.outlook.com."]
    assert answer.flags & dns.flags.RA
    assert texts == [['"v=spf1 include:spf.protection.outlook.com -all"'], ["autodiscover.outlook.com."]]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nowhere.example", dns.rcode.NXDOMAIN),
        ("www.contoso.com", dns.rcode.NXDOMAIN),
        ("contoso-retail.com", dns.rcode.NOERROR),
        ("autodiscover.contoso.com", dns.rcode.NXDOMAIN),
        ("com", dns.rcode.NOERROR),
    ],
)
async def test_what_is_not_there_says_so(name: str, code: int) -> None:
    """NXDOMAIN, or no records of a name that exists (a CNAME's target decides); an SOA record says how long that holds."""
    async with resolver() as client:
        answer = await client.ask(name)

    assert answer.rcode() == code
    assert [each.rdtype.name for each in answer.authority] == ["SOA"]


async def test_records_are_put_in_the_place_of_others() -> None:
    """A gateway in front takes the MX; the other types stay; taken away, there is none; cleared, all is as at first."""
    async with resolver() as client:
        client.records.put(Records("Contoso.com.", "mx", ("20 mx2.gateway.example.", "10 mx1.gateway.example."), 300))
        behind = await client.texts("contoso.com")
        spf = await client.texts("contoso.com", "TXT")
        client.records.put(Records("contoso.com", "MX", ()))
        without = await client.ask("contoso.com")
        client.records.clear()
        after = await client.texts("contoso.com")

    assert sorted(behind) == ["10 mx1.gateway.example.", "20 mx2.gateway.example."]
    assert len(spf) == 1
    assert (without.rcode(), without.answer) == (dns.rcode.NOERROR, [])
    assert after == ["0 contoso-com.mail.protection.outlook.com."]


async def test_a_cname_is_followed() -> None:
    """To the end of the chain; one that turns in a circle ends all the same."""
    async with resolver() as client:
        client.records.put(Records("a.example", "CNAME", ("b.example.",)))
        client.records.put(Records("b.example", "CNAME", ("contoso.com.",)))
        chain = [each.name.to_text() for each in (await client.ask("a.example")).answer]
        client.records.put(Records("b.example", "CNAME", ("a.example.",)))
        circle = await client.ask("a.example")

    assert chain == ["a.example.", "b.example.", "contoso.com."]
    assert circle.rcode() == dns.rcode.NOERROR


async def test_a_new_mail_host_is_published(platform: Platform) -> None:
    """A domain of after July 2026 has its host under mx.microsoft, in DNS and in Graph alike."""
    host = "contoso-com.o-v1.mx.microsoft"
    change = {"noun": "domain", "identity": "contoso.com", "change": {"mailHost": host}}
    await platform.control("POST", "tamper", json=change)
    address, _, port = platform.simulation.dns_address.rpartition(":")

    answer = await dns.asyncquery.udp(dns.message.make_query("contoso.com", "MX"), address, SECONDS, int(port))

    assert [each.to_text() for each in answer.answer[0]] == [f"0 {host}."]


def test_no_pattern_makes_a_mail_host() -> None:
    """Names that differ by their hyphens only have different hosts; the initial domain has a host of its own form."""
    hosts = [mail_host(Domain(name)) for name in ("my-shop.com", "myshop.com", "m-yshop.com")]

    assert len(set(hosts)) == 3
    assert mail_host(Domain("contoso.onmicrosoft.com", is_initial=True)) == "contoso.mail.protection.outlook.com"


@pytest.mark.parametrize("trouble", [Trouble.NXDOMAIN, Trouble.SERVFAIL, Trouble.REFUSED])
async def test_a_fault_answers_with_its_code_once(trouble: Trouble) -> None:
    """About its name only; the second question is answered."""
    async with resolver() as client:
        client.records.faults.append(DnsFault(trouble, "contoso.com"))
        other = await client.ask("fabrikam.onmicrosoft.com")
        refused = await client.ask("contoso.com")
        answered = await client.ask("contoso.com")

    assert [each.rcode().name for each in (other, refused, answered)] == ["NOERROR", trouble.value, "NOERROR"]


async def test_a_fault_may_never_answer() -> None:
    """The client gives up; the question is remembered."""
    async with resolver() as client:
        client.records.faults.append(DnsFault(Trouble.TIMEOUT))
        with pytest.raises(dns.exception.Timeout):
            await dns.asyncquery.udp(dns.message.make_query("contoso.com", "MX"), client.host, 0.05, client.port)

    assert list(client.records.questions) == [("contoso.com", "MX", "udp")]


async def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    """Whether a fault cuts it or its length does; a client that takes long datagrams gets it at once."""
    long = tuple(f"{number} mx{number:03}.a-rather-long-name-of-a-gateway.example." for number in range(40))
    async with resolver() as client:
        client.records.faults.append(DnsFault(Trouble.TRUNCATED, times=2))
        by_fault = await client.texts("contoso.com")
        client.records.put(Records("contoso.com", "MX", long))
        by_length = await client.texts("contoso.com")
        at_once = await client.ask("contoso.com", use_edns=0, payload=4096)

    assert (len(by_fault), len(by_length), len(at_once.answer[0])) == (1, 40, 40)
    assert [transport for _, _, transport in client.records.questions] == ["udp", "tcp", "udp", "tcp", "udp"]


async def test_what_is_no_question_is_not_answered() -> None:
    """Noise is dropped, over UDP and in a connection, and the server goes on."""
    async with resolver() as client:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"noise", (client.host, client.port))
        over_udp = await client.texts("contoso.com")
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(struct.pack("!H", 5) + b"noise")
        query = dns.message.make_query("contoso.com", "MX").to_wire()
        writer.write(struct.pack("!H", len(query)) + query)
        over_tcp = dns.message.from_wire(await reader.readexactly(struct.unpack("!H", await reader.readexactly(2))[0]))
        writer.close()

    assert (len(over_udp), len(over_tcp.answer)) == (1, 1)


async def test_control_shows_changes_and_disturbs(platform: Platform) -> None:
    """By requests; what makes no sense is refused with words; a reset publishes everything as at first."""
    records = {"name": "contoso.com", "type": "MX", "values": ["10 mx.gateway.example."]}
    await platform.control("POST", "dns", json=records)
    await platform.control("POST", "dns/faults", json={"trouble": "SERVFAIL", "times": 2})
    shown = await platform.control("GET", "dns")
    await platform.control("POST", "reset")
    after = await platform.control("GET", "dns")
    wrong = [
        await platform.client.post("/_control/dns", json=records | {"values": ["mx.gateway.example."]}),
        await platform.client.post("/_control/dns", json=records | {"type": "NONSENSE"}),
        await platform.client.post("/_control/dns/faults", json={"trouble": "SERVFAIL", "times": 0}),
    ]

    assert records | {"ttl": 3600, "values": ["10 mx.gateway.example."]} in shown["records"]
    assert shown["faults"] == [{"trouble": "SERVFAIL", "name": None, "times": 2}]
    assert (after["faults"], records["values"] in [each["values"] for each in after["records"]]) == ([], False)
    assert [each.status_code for each in wrong] == [400, 400, 400]
