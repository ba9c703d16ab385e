"""A DNS resolver on the loopback address: what the world's DNS says of the tenants' domains, apart from what Graph says."""

from local.microsoft365.dns.control import DnsControl
from local.microsoft365.dns.records import DnsFault, DnsRecords
from local.microsoft365.dns.server import serve_dns

__all__ = ["DnsControl", "DnsFault", "DnsRecords", "serve_dns"]
