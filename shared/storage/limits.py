"""What Table storage takes, and the errors for what it does not.

Source: learn.microsoft.com/azure/storage/tables/scalability-targets and .../rest/api/storageservices/
{understanding-the-table-service-data-model, performing-entity-group-transactions}.
"""

from shared.domain.problems import GrantlineError

TRANSACTION_ROWS = 100
"""How many rows one entity group transaction may change."""
TRANSACTION_BYTES = 4 * 1024 * 1024
"""How large the body of one may be."""
OPERATION_OVERHEAD = 1024
"""Room in that body for the headers and the address of one operation."""
KEY_BYTES = 1024
"""How long a partition key or a row key may be, in UTF-16."""
PROPERTY_CHARACTERS = 30_000
"""How much of a text we put into one property: 64 KiB of UTF-16 at the most, 32,768 characters of ASCII."""


class StorageError(GrantlineError):
    """Raised when Azure Storage refuses what waiting does not cure: a role that is missing, or a defect of ours."""


class MissingError(StorageError):
    """Raised when there is no such row or queue; callers turn it into their own answer."""


class TooLargeError(StorageError):
    """Raised when a row or a transaction is larger than Table storage takes; nothing was sent."""


class UnreadableError(StorageError):
    """Raised when a row is of a newer version than this code knows, or of another shape. Never shows a value."""
