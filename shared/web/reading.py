"""What a program sent, read by the models of ``schemas``; all that is wrong with it is told at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.domain.problems import ProblemError, problem
from shared.web.http import Request
from shared.web.schemas import KeyHeader
from shared.web.views import View

ModelT = TypeVar("ModelT", bound=BaseModel)
MAXIMUM_BODY = 64 * 1024
"""The largest body that is read, in bytes."""
MAXIMUM_ERRORS = 100
"""How many errors are told at once."""
KEY = "Idempotency-Key"


@dataclass(slots=True)
class Reading:
    """Reads the parts of one request. ``done`` raises what they all found."""

    request: Request
    errors: list[View] = field(default_factory=list)

    def query(self, model: type[ModelT]) -> ModelT:
        """Return the query; parameters that the model does not have are passed over. Raises ProblemError."""
        found = self._read(lambda: model.model_validate(self.request.query), lambda error: {"parameter": str(error["loc"][0])})
        return self.done(found)

    def key(self) -> str:
        """Return the idempotency key, without its quotation marks."""
        values = {name: value for name, value in [(KEY, self.request.headers.get(KEY.lower()))] if value is not None}
        found = self._read(lambda: KeyHeader.model_validate(values), lambda _: {"header": KEY})
        return found.key.strip('"') if found else ""

    def body(self, model: type[ModelT]) -> ModelT:
        """Return the body; to be read last. Raises ProblemError for all that is wrong with the request."""
        if len(self.request.body) > MAXIMUM_BODY:
            raise ProblemError(problem=problem("body_too_large"))
        return self.done(
            self._read(lambda: model.model_validate_json(self.request.body), lambda error: {"pointer": _pointer(error)})
        )

    def done(self, found: ModelT | None) -> ModelT:
        """Return what was found. Raises ProblemError when anything was wrong with the request."""
        if self.errors or found is None:
            raise unreadable(self.errors)
        return found

    def _read(self, read: Callable[[], ModelT], where: Callable[[ErrorDetails], dict[str, str]]) -> ModelT | None:
        try:
            return read()
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
            self.errors += [{"detail": fault["msg"], **where(fault)} for fault in faults[:MAXIMUM_ERRORS]]
            return None


def unreadable(errors: list[View]) -> ProblemError:
    """Return the error that says what is wrong with a request."""
    return ProblemError(problem=problem("request_unreadable"), more={"errors": errors})


def _pointer(error: ErrorDetails) -> str:
    """Return where in the body an error is: a JSON Pointer (RFC 6901) as a URI fragment."""
    return "#" + "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error["loc"])
