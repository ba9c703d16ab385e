"""The simulated Microsoft Graph v1.0: directory, applications and roles, with Microsoft's permissions enforced."""

from local.microsoft365.graph.operations import resource_units
from local.microsoft365.graph.routes import routes

__all__ = ["resource_units", "routes"]
