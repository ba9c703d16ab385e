"""What a program sent, read by the models of ``schemas``; all that is wrong with it is told at once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

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
        try:
            content = from_json(self.request.body)
        except ValueError as error:
            raise unreadable([*self.errors, {"detail": f"It is no JSON: {error}", "pointer": "#"}]) from None
        return self.done(self._read(lambda: model.model_validate(content), lambda error: {"pointer": _pointer(error, content)}))

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


def _pointer(error: ErrorDetails, content: Any) -> str:
    """Return where in the body an error is: a JSON Pointer (RFC 6901) as a URI fragment.

    A place in a union also names the alternative that was tried; the body does not have that.
    """
    parts: list[int | str] = []
    for part in error["loc"]:
        names = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
        if part in names:
            content = content[part]
            parts.append(part)
        elif error["type"] == "missing" and part == error["loc"][-1]:
            parts.append(part)
    return "#" + "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
