"""The simulated Exchange Online: its admin REST endpoint, the cmdlets behind it, and their objects."""

from local.microsoft365.exchange.control import VOLATILE, add, put_role_group, snapshot, tamper
from local.microsoft365.exchange.routes import routes

__all__ = ["VOLATILE", "add", "put_role_group", "routes", "snapshot", "tamper"]
