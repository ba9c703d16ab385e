"""The only place that speaks to Microsoft: sign-in, tokens, Graph and Exchange, behind the protocols of ``shared.ports``.

Microsoft's client libraries are heavy (seconds to import): importing this package loads none of them; each is loaded with its
first use (``credentials``, ``redemption``, ``graph_sdk``).
"""

from shared.microsoft.client import MicrosoftClient
from shared.ports import Microsoft
from shared.settings import Settings

__all__ = ["open_microsoft"]


def open_microsoft(settings: Settings) -> Microsoft:
    """Return everything that speaks to Microsoft, for the event loop that first uses it; the caller closes it."""
    return MicrosoftClient(settings)
