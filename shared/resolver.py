"""The DNS, asked of the one resolver that the settings name, never of the machine's own.

dnspython is loaded with the first question: it costs a cold start its time.
"""

from typing import Any

from shared.ports import MxAnswer

LIFETIME = 4.0
"""Seconds for one question, all tries together."""
TRY = 1.5
"""Seconds for one try."""


class DnsResolver:
    """``ports.Resolver`` by the DNS server at an IP address and a port."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._opened: Any = None

    async def mail_exchangers(self, domain: str) -> MxAnswer:
        """See ``ports.Resolver``."""
        import dns.exception  # noqa: PLC0415 - heavy
        import dns.resolver  # noqa: PLC0415

        try:
            answer = await self._resolver().resolve(f"{domain.rstrip('.')}.", "MX", lifetime=LIFETIME, search=False)
        except dns.resolver.NXDOMAIN:
            return MxAnswer(error="NXDOMAIN: there is no such domain")
        except dns.resolver.NoAnswer:
            return MxAnswer(error="the domain has no MX record")
        except (dns.exception.DNSException, OSError) as error:
            return MxAnswer(is_answered=False, error=_told(error))
        ranked = sorted((record.preference, _host(record)) for record in answer)
        hosts = tuple(dict.fromkeys(host for _, host in ranked if host))
        return MxAnswer(hosts, error="" if hosts else "the domain says that it takes no mail (RFC 7505)")

    def _resolver(self) -> Any:
        import dns.asyncresolver  # noqa: PLC0415 - heavy

        if self._opened is None:
            self._opened = dns.asyncresolver.Resolver(configure=False)
            self._opened.nameservers, self._opened.port = [self._address], self._port
            self._opened.timeout = TRY
        return self._opened


def _host(record: Any) -> str:
    """Return the host that a record names, "" for the root of RFC 7505."""
    return str(record.exchange).rstrip(".").lower()


def _told(error: Exception) -> str:
    """Return what went wrong in a word or two: the exception's own text names the server."""
    import dns.exception  # noqa: PLC0415 - heavy
    import dns.resolver  # noqa: PLC0415

    if isinstance(error, dns.exception.Timeout):
        return f"no answer within {LIFETIME:g} seconds"
    if isinstance(error, dns.resolver.NoNameservers):
        return "the resolver could not find it out (SERVFAIL or refused)"
    return f"the question could not be asked ({type(error).__name__})"
