"""Errors of the storage: what Azure Storage answers, in Grantline's own tree.

The tree, below ``GrantlineError``::

    ConflictError         409, 412, a message that another reader holds, or an answer of a transaction that was lost: read
                          again (shared/ports.py)
    TransientError        408, 429, 5xx, or no answer: Azure Storage can't serve us for now (shared/ports.py)
    StorageError          Azure Storage refuses what waiting does not cure: a role that is missing, a defect
    ├── MissingError      there is no such row or queue; never leaves shared/storage
    ├── TooLargeError     a row or a transaction is larger than Table storage takes
    └── UnreadableError   a row is of a newer version than this code knows, or of another shape
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ServiceRequestError, ServiceResponseError

from shared.domain.problems import GrantlineError
from shared.ports import ConflictError, TransientError
from shared.storage.limits import MissingError, StorageError

CONFLICTS = frozenset({409, 412})
"""Statuses of a row that exists already, or whose ETag is another one. (A queue that exists is an error with status 204.)"""
BUSY = frozenset({408, 429})
"""Statuses below 500 that ask for patience."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise ConflictError, TransientError or StorageError in the place of the SDK's errors."""
    try:
        yield
    except AzureError as error:
        raise _translate(error) from error


@contextmanager
def committing() -> Iterator[None]:
    """Like ``translated``, for transactions: whoever gets no answer can't tell whether it was carried out, so must read again.

    A row of the transaction that is gone (404) changed since it was read, too.
    """
    try:
        with translated():
            yield
    except TransientError as error:
        raise ConflictError(f"no answer to a transaction: {error}") from error
    except MissingError as error:
        raise ConflictError(f"a row of a transaction is gone: {error}") from error


def _translate(error: AzureError) -> GrantlineError:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    text = f"Azure Storage: {status or type(error).__name__}: {_first_line(error)}"
    code = getattr(error, "error_code", "")
    if status in CONFLICTS or code == "PopReceiptMismatch" or isinstance(error, ResourceExistsError):
        return ConflictError(text)
    if isinstance(error, ServiceRequestError | ServiceResponseError) or (status and (status >= 500 or status in BUSY)):
        return TransientError(text, _retry_after(error))
    is_missing = status == 404 and code != "TableNotFound"
    return MissingError(text) if is_missing else StorageError(text)


def _first_line(error: AzureError) -> str:
    return str(error.message).partition("\n")[0]


def _retry_after(error: AzureError) -> timedelta | None:
    """Return the service's Retry-After (whole seconds, RFC 9110 10.2.3), if it gave one."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    seconds = headers.get("Retry-After", "")
    return timedelta(seconds=int(seconds)) if seconds.isdecimal() else None
