"""The DNS server: RFC 1035 over UDP and TCP, with EDNS (RFC 6891), on one loopback port.

It answers as a recursive resolver does: the recursion-available flag is set, CNAMEs are followed, what doesn't exist is NXDOMAIN
with an SOA record (RFC 2308), and what is too long for UDP is cut and marked, so that the client asks again over TCP.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from local.microsoft365.dns.records import DnsRecords, Found, Records, Trouble

LOOPBACK = "127.0.0.1"
_PLAIN_UDP_SIZE = 512
_PORT_ATTEMPTS = 20
_NEGATIVE_TTL = 60
_START_OF_AUTHORITY = f"ns.invalid. hostmaster.invalid. 1 3600 600 86400 {_NEGATIVE_TTL}"


def rrset(records: Records) -> dns.rrset.RRset:
    """Return records in the library's form; raises dns.exception.DNSException for values that no zone file may have."""
    name = dns.name.from_text(records.name)
    return dns.rrset.from_text_list(name, records.ttl, "IN", records.type, list(records.values))


def answer(wire: bytes, records: DnsRecords, transport: str) -> bytes | None:
    """Return the answer to a message; None where none is given, to a fault of this kind or to what is no question."""
    try:
        query = dns.message.from_wire(wire)
        question = query.question[0]
    except (dns.exception.DNSException, IndexError):
        return None
    name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
    records.questions.append((name, kind, transport))
    trouble = records.take_fault(name, transport)
    if trouble is Trouble.TIMEOUT:
        return None
    response = dns.message.make_response(query, recursion_available=True)
    if trouble is None:
        _fill(response, records.find(name, kind), name)
    elif trouble is Trouble.TRUNCATED:
        response.flags |= dns.flags.TC
    else:
        response.set_rcode(dns.rcode.from_text(trouble.value))
    return _written(query, response, transport)


def _fill(response: dns.message.Message, found: Found, asked: str) -> None:
    response.answer.extend(rrset(each) for each in found.chain)
    is_answered = bool(found.chain) and found.chain[-1].type == dns.rdatatype.to_text(response.question[0].rdtype)
    if not is_answered:
        last = found.chain[-1].values[0] if found.chain else asked
        zone = last.rstrip(".").partition(".")[2] or "invalid"
        response.authority.append(rrset(Records(zone, "SOA", (_START_OF_AUTHORITY,), _NEGATIVE_TTL)))
        response.set_rcode(dns.rcode.NOERROR if found.exists else dns.rcode.NXDOMAIN)


def _written(query: dns.message.Message, response: dns.message.Message, transport: str) -> bytes:
    if transport == "tcp":
        return response.to_wire()
    size = max(_PLAIN_UDP_SIZE, query.payload) if query.edns >= 0 else _PLAIN_UDP_SIZE
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        cut = dns.message.make_response(query, recursion_available=True)
        cut.flags |= dns.flags.TC
        return cut.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    """Answers each datagram with one datagram."""

    def __init__(self, records: DnsRecords) -> None:
        self._records = records
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Remember where answers go."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer."""
        reply = answer(data, self._records, "udp")
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


async def _converse(records: DnsRecords, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the messages of one connection, each after two bytes of length (RFC 1035 4.2.2), until the client leaves."""
    try:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            reply = answer(await reader.readexactly(length), records, "tcp")
            if reply is not None:
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def serve_dns(records: DnsRecords, port: int = 0) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the address as `host:port`. Raises OSError when the port is taken."""
    datagrams, stream = _sockets(port)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(records), sock=datagrams)
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            conversations.add(task)
            task.add_done_callback(conversations.discard)
        await _converse(records, reader, writer)

    server = await asyncio.start_server(converse, sock=stream)
    try:
        yield f"{LOOPBACK}:{stream.getsockname()[1]}"
    finally:
        transport.close()
        server.close()
        for task in tuple(conversations):
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        await server.wait_closed()


def _sockets(port: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket on one loopback port."""
    for attempt in range(_PORT_ATTEMPTS):
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind((LOOPBACK, port))
            datagrams.bind((LOOPBACK, stream.getsockname()[1]))
        except OSError:
            stream.close()
            datagrams.close()
            if port or attempt == _PORT_ATTEMPTS - 1:
                raise
        else:
            for each in (stream, datagrams):
                each.setblocking(False)
            return datagrams, stream
    raise OSError(errno.EADDRINUSE, "no port is free for both UDP and TCP")
