"""The embedded functions host: runs ``function_app.py`` on this machine with the semantics of the Azure Functions host.

docs/host.md says, statement by statement, what is the same, what differs and which test shows it.
"""

from local.host.configuration import ConfigurationError
from local.host.host import Host, HostOptions

__all__ = ["ConfigurationError", "Host", "HostOptions"]
