"""The simulated Office 365 Management Activity API: subscriptions, lists of content, and the content itself."""

from local.microsoft365.activity.routes import routes

__all__ = ["routes"]
