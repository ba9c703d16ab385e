"""Azure Storage: the tables are the truth, the queues carry nudges and events. The only place that speaks to it.

Importing this package loads no Azure SDK (a second and more of a cold start); ``open_storage`` does.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from shared.ports import (
    Accounts,
    Bindings,
    DeadLetters,
    DirectoryStore,
    DueIndex,
    EventQueue,
    GrantStore,
    Nudges,
    PoisonQueues,
    ProbeQueue,
)
from shared.settings import Settings

__all__ = ["Storage", "open_storage"]


@dataclass(frozen=True, slots=True)
class Storage:
    """All that is kept, behind its ports; ``close`` ends the connections."""

    grants: GrantStore
    due: DueIndex
    nudges: Nudges
    events: EventQueue
    probes: ProbeQueue
    dead_letters: DeadLetters
    poison: PoisonQueues
    bindings: Bindings
    accounts: Accounts
    directory: DirectoryStore
    close: Callable[[], Awaitable[None]]


async def open_storage(settings: Settings) -> Storage:
    """Open the storage that the settings name, for the running event loop; tables and queues that are missing are made.

    With a connection string its key is used; else a managed identity on Azure and the developer's own sign-in elsewhere.
    Raises TransientError or StorageError when Azure Storage does not let us in.
    """
    from shared.storage.service import open_service  # noqa: PLC0415 - loads the Azure SDKs

    service = await open_service(settings)
    return service.storage()
