"""The refusals of Exchange's admin endpoint, and the error document that carries them.

    CommandError              the cmdlet was refused; never raised itself
    |-- InvocationError       the endpoint could not bind the call: unknown cmdlet, parameter or value
    `-- ExecutionError        the cmdlet ran and refused: not found, duplicate, invalid value

Shapes: recorded bodies in github:rknightion/graph2otel internal/exoclient/errors_test.go (2026-07-23) for the first
kind, a stored capture of 2023 (`Ex6F9304|...ManagementObjectNotFoundException|...`) for the second.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from typing import Any

_ODATA_ERROR = "Microsoft.Exchange.Admin.OData.Core.ODataServiceException"
_EXECUTION_ERROR = "Microsoft.Exchange.Management.PSDirectInvoke.DirectInvokeCmdletExecutionException"
_STATUS_CODES = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 429: "TooManyRequests"}

AMBIGUOUS = "Microsoft.Exchange.AdminApi.CommandInvocation.AmbiguousParameterSetException"
TRANSFORMATION = "Microsoft.Exchange.AdminApi.CommandInvocation.ParameterTransformationException"
MISSING_PARAMETER = "System.Management.Automation.ParameterBindingException"
UNKNOWN_COMMAND = "System.Management.Automation.CommandNotFoundException"
PAGINATION = "System.Exception"

NOT_FOUND = "Microsoft.Exchange.Configuration.Tasks.ManagementObjectNotFoundException"
DUPLICATE = "Microsoft.Exchange.Data.Directory.ADObjectAlreadyExistsException"
ADDRESS_IN_USE = "Microsoft.Exchange.Data.Directory.ProxyAddressExistsException"
ALREADY_MEMBER = "Microsoft.Exchange.Management.Tasks.MemberAlreadyExistsException"
NOT_A_MEMBER = "Microsoft.Exchange.Management.Tasks.MemberNotFoundException"
INVALID = "System.ArgumentException"
VALIDATION = "Microsoft.Exchange.Data.DataValidationException"
RESTRICTED = "Microsoft.Exchange.Management.Tasks.ConnectorCreationRestrictedException"
THROTTLED = "Microsoft.Exchange.Management.ReportingTask.ThrottlingException"
IN_USE = "Microsoft.Exchange.Management.Tasks.ConnectorInUseException"


class CommandError(Exception, ABC):
    """Superclass of the refusals; never raised directly.

    `kind` is the .NET type that Exchange names, `status` the HTTP status of the answer.
    """

    def __init__(self, message: str, *, kind: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.status = status

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """Return the JSON document of the answer."""

    def _document(self, title: str, details: str | None, inner: dict[str, str]) -> dict[str, Any]:
        error: dict[str, Any] = {"code": _STATUS_CODES[self.status], "message": title}
        if details is not None:
            error["details"] = [{"code": "Client", "target": "", "message": details}]
        error["innererror"] = {
            "message": title,
            "type": _ODATA_ERROR,
            "stacktrace": "",
            "internalexception": {**inner, "stacktrace": ""},
        }
        return {"error": error, "adminapi.warnings@odata.type": "#Collection(String)", "@adminapi.warnings": []}


class InvocationError(CommandError):
    """Raised when a call can't be bound to a cmdlet: its text stands in `internalexception`."""

    def document(self) -> dict[str, Any]:
        """Return the document; a value that can't be converted has no `details`, as recorded."""
        without_details = self.kind in {TRANSFORMATION, PAGINATION}
        details = None if without_details else f"|{self.kind}|{self.message}"
        return self._document("Invalid Operation", details, {"message": self.message, "type": self.kind})


class ExecutionError(CommandError):
    """Raised when a cmdlet ran and refused: its text stands in `details`, the inner exception is generic."""

    def document(self) -> dict[str, Any]:
        """Return the document; `ExNNNNNN` is stable for a kind of refusal."""
        number = zlib.crc32(self.kind.encode()) & 0xFFFFFF
        generic = f"Exception of type '{_EXECUTION_ERROR}' was thrown."
        return self._document(
            "Error executing cmdlet",
            f"Ex{number:06X}|{self.kind}|{self.message}",
            {"message": generic, "type": _EXECUTION_ERROR},
        )


def not_found(identity: str, server: str) -> ExecutionError:
    """Return the refusal of an identity that names no object (404)."""
    message = f"The operation couldn't be performed because object '{identity}' couldn't be found on '{server}'."
    return ExecutionError(message, kind=NOT_FOUND, status=404)


def invalid(message: str, kind: str = INVALID) -> ExecutionError:
    """Return the refusal of a value or a combination of values (400)."""
    return ExecutionError(message, kind=kind)
