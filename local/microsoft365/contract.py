"""Checks every Graph request and answer against Microsoft's own OpenAPI description of Graph v1.0.

The description is data outside the tree (`../shared/contracts/graph-v1.0-slice.json`); without it the check is off and
says so. Each schema is compiled once into plain functions, because a page of 999 users is checked whole and must not
take longer than the request itself. Beyond the schemas, a property that the description doesn't name is a violation.

What is checked: the operation is described; query options are described and of their type; a request's and an answer's
body fit. A request that Graph refuses (4xx) may break the description: the refusal is the right answer to it.
"""

from __future__ import annotations

import json
import os
import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from local.microsoft365.naming import canonical_path

REPORT_VARIABLE = "GRANTLINE_CONTRACT_REPORT"
DESCRIPTION_FILE = "graph-v1.0-slice.json"
_PREFIX = "/v1.0"
_KEPT_VIOLATIONS = 200
_METHODS = frozenset({"get", "post", "patch", "put", "delete"})
_PAGING_OPTIONS = frozenset({"$skiptoken", "$deltatoken"})

Check = Callable[[Any], str | None]
"""Returns what is wrong with a value, None when it fits."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A request or an answer that the description doesn't allow."""

    operation: str
    status: int
    where: str
    """`request` or `answer`."""
    problem: str


def _of_type(kind: type | tuple[type, ...], name: str) -> Check:
    def check(value: Any) -> str | None:
        fits = isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)
        return None if fits else f"is not of type {name}"

    return check


_TYPES: Mapping[str, Check] = {
    "string": _of_type(str, "string"),
    "integer": _of_type(int, "integer"),
    "number": _of_type((int, float), "number"),
    "boolean": _of_type(bool, "boolean"),
}


def _object(properties: Mapping[str, Check], required: frozenset[str]) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return "is not of type object"
        for name, item in value.items():
            inner = properties.get(name)
            if inner is None:
                if not name.startswith("@odata.") and properties:
                    return f".{name} is not described"
                continue
            problem = inner(item)
            if problem is not None:
                return f".{name} {problem}" if not problem.startswith((".", "[")) else f".{name}{problem}"
        missing = required - value.keys()
        return f"lacks {', '.join(sorted(missing))}" if missing else None

    return check


def _array(item: Check) -> Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list):
            return "is not of type array"
        for index, each in enumerate(value):
            problem = item(each)
            if problem is not None:
                return f"[{index}]{problem}" if problem.startswith((".", "[")) else f"[{index}] {problem}"
        return None

    return check


def _pattern(check: Check, pattern: str) -> Check:
    search = re.compile(pattern).search

    def both(value: Any) -> str | None:
        return check(value) or (None if search(value) else f"does not match {pattern}")

    return both


def _one_of(check: Check, values: list[Any]) -> Check:
    return lambda value: check(value) or (None if value in values else f"is none of {values}")


def _any_of(checks: list[Check]) -> Check:
    def check(value: Any) -> str | None:
        problems = [each(value) for each in checks]
        return None if None in problems else problems[0]

    return check


def _or_null(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


class SchemaCompiler:
    """Compiles the schemas of one OpenAPI 3.0 document; recursive ones are resolved when they are first met."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._compiled: dict[str, Check] = {}

    def resolve(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a `$ref` refers to, or the item itself."""
        while "$ref" in item:
            target: Any = self._document
            for part in item["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            item = target
        return item

    def compile(self, schema: Mapping[str, Any]) -> Check:
        """Return the check of a schema."""
        reference = schema.get("$ref")
        if reference is None:
            return self._build(schema)
        if reference not in self._compiled:
            self._compiled[reference] = partial(self._deferred, schema)
            self._compiled[reference] = self._build(self.resolve(schema))
        return self._compiled[reference]

    def _build(self, schema: Mapping[str, Any]) -> Check:
        if "anyOf" in schema:
            return _any_of([self.compile(part) for part in schema["anyOf"]])
        check = self._typed(schema)
        if "pattern" in schema:
            check = _pattern(check, schema["pattern"])
        if "enum" in schema:
            check = _one_of(check, schema["enum"])
        return _or_null(check) if schema.get("nullable") else check

    def _typed(self, schema: Mapping[str, Any]) -> Check:
        kind = schema.get("type", "object")
        if kind == "array":
            return _array(self.compile(schema["items"]))
        if kind in _TYPES:
            return _TYPES[kind]
        if "x-discriminator" in schema:
            return self._discriminated(schema)
        properties, required = self._merged(schema)
        return _object({name: self._later(part) for name, part in properties.items()}, frozenset(required))

    def _discriminated(self, schema: Mapping[str, Any]) -> Check:
        """Return the check of a base type: by `@odata.type` where it is given, else any derived type's properties do."""
        references = {name: {"$ref": path} for name, path in schema["x-discriminator"]["mapping"].items()}
        derived = {name: self._later(reference) for name, reference in references.items()}
        properties, required = self._merged(schema)
        for reference in references.values():
            properties = self._merged(self.resolve(reference))[0] | properties
        base = _object({name: self._later(part) for name, part in properties.items()}, frozenset(required))
        return lambda value: derived.get(value.get("@odata.type", ""), base)(value) if isinstance(value, dict) else base(value)

    def _later(self, schema: Mapping[str, Any]) -> Check:
        """Return a check that is compiled when it is first needed, so that schemas may contain each other."""
        if "$ref" in schema and schema["$ref"] not in self._compiled:
            return partial(self._deferred, schema)
        return self.compile(schema)

    def _deferred(self, schema: Mapping[str, Any], value: Any) -> str | None:
        return self.compile(schema)(value)

    def _merged(self, schema: Mapping[str, Any]) -> tuple[dict[str, Mapping[str, Any]], set[str]]:
        """Return the properties and the required names of an object schema, those of all its `allOf` included."""
        properties: dict[str, Mapping[str, Any]] = {}
        required: set[str] = set()
        for part in schema.get("allOf", ()):
            inner, names = self._merged(self.resolve(part))
            properties |= inner
            required |= names
        properties |= schema.get("properties", {})
        return properties, required | set(schema.get("required", ()))


@dataclass(frozen=True, slots=True)
class DescribedOperation:
    """One operation of the description, ready to check."""

    name: str
    options: Mapping[str, str]
    """Query options with their types."""
    body: Check | None
    answers: Mapping[str, Check | None]
    """By status, status class (`2XX`) or `default`."""

    def answer_check(self, status: int) -> Check | None:
        """Return the check of an answer's body; raises KeyError for a status that is not described."""
        keys = (str(status), f"{status // 100}XX", "default")
        return self.answers[next(key for key in keys if key in self.answers or key == "default")]


def _option_problem(name: str, kind: str, text: str) -> str | None:
    if kind == "integer" and not re.fullmatch(r"\d+", text):
        return f"{name} is not a whole number"
    if kind == "boolean" and text.lower() not in {"true", "false"}:
        return f"{name} is neither true nor false"
    parts = text.split(",")
    if kind == "array" and len(parts) != len(set(parts)):
        return f"{name} names something twice"
    return None


class Description:
    """The operations of an OpenAPI document by path and method."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._compiler = SchemaCompiler(document)
        self._document = document
        self._operations: dict[tuple[str, str], DescribedOperation] = {}
        # The more literal a path is, the earlier it is tried: /users/delta before /users/{user-id}.
        templates = sorted(document["paths"], key=lambda path: (path.count("{"), path))
        self._patterns = [(self._pattern(path), path) for path in templates]

    @staticmethod
    def _pattern(template: str) -> re.Pattern[str]:
        parts = re.split(r"\{[^}]+\}", template)
        return re.compile("[^/]+".join(re.escape(part) for part in parts), re.IGNORECASE)

    def find(self, method: str, path: str) -> DescribedOperation | None:
        """Return the operation of a decoded path after the version, if it is described."""
        path = canonical_path(path)
        for pattern, template in self._patterns:
            if pattern.fullmatch(path):
                item = self._document["paths"][template]
                return self._operation(method.lower(), template) if method.lower() in item else None
        return None

    def _operation(self, method: str, template: str) -> DescribedOperation:
        key = (method, template)
        if key not in self._operations:
            self._operations[key] = self._compile(method, template)
        return self._operations[key]

    def _compile(self, method: str, template: str) -> DescribedOperation:
        item = self._document["paths"][template][method]
        parameters = [self._compiler.resolve(each) for each in item.get("parameters", ())]
        options = {each["name"]: each["schema"].get("type", "string") for each in parameters if each["in"] == "query"}
        answers = {status: self._content(self._compiler.resolve(each)) for status, each in item["responses"].items()}
        answers.setdefault("default", self._content(self._compiler.resolve({"$ref": "#/components/responses/error"})))
        body = self._content(item["requestBody"]) if "requestBody" in item else None
        return DescribedOperation(f"{method.upper()} {template}", options, body, answers)

    def _content(self, item: Mapping[str, Any]) -> Check | None:
        schema = item.get("content", {}).get("application/json", {}).get("schema")
        return self._compiler.compile(schema) if schema is not None else None


class Contract:
    """The check of one process: a middleware, and a report of what it saw."""

    def __init__(self, directory: Path | None) -> None:
        """Read the description in `directory`; where it isn't there the check is off, and `message` says so."""
        path = directory / DESCRIPTION_FILE if directory is not None else None
        self.enabled = path is not None and path.is_file()
        self.message = "" if self.enabled else f"Graph's contract is not checked: {DESCRIPTION_FILE} is not there."
        self._description = (
            Description(json.loads(path.read_text(encoding="utf-8"))) if path is not None and self.enabled else None
        )
        self._operations: dict[str, int] = {}
        self._undescribed: dict[str, int] = {}
        self._violations: deque[Violation] = deque(maxlen=_KEPT_VIOLATIONS)
        self._violation_count = 0

    def report(self) -> dict[str, Any]:
        """Return whether the check is on, the violations, how many there were, and the operations seen with their number."""
        return {
            "enabled": self.enabled,
            "message": self.message,
            "violation_count": self._violation_count,
            "violations": [asdict(violation) for violation in self._violations],
            "operations": dict(sorted(self._operations.items())),
            "undescribed": dict(sorted(self._undescribed.items())),
        }

    @property
    def middleware(self) -> Middleware:
        """The middleware: it changes no request and no answer."""

        @web.middleware
        async def check_contract(request: web.Request, handler: Handler) -> web.StreamResponse:
            if self._description is None or not request.path.startswith(_PREFIX + "/"):
                return await handler(request)
            body = await request.read()
            response = await handler(request)
            if isinstance(response, web.Response):
                answer = response.body if isinstance(response.body, bytes) else b""
                self.check(request.method, request.rel_url.raw_path, dict(request.query), body, response.status, answer)
            return response

        return check_contract

    def check(self, method: str, raw_path: str, query: Mapping[str, str], body: bytes, status: int, answer: bytes) -> None:
        """Check one exchange; what is wrong is kept, and written to the report file where one is named."""
        if self._description is None:
            return
        path = unquote(raw_path).removeprefix(_PREFIX)
        operation = self._description.find(method, path)
        if operation is None:
            name = f"{method} {path}"
            self._undescribed[name] = self._undescribed.get(name, 0) + 1
            if status < 400:
                self._violated(Violation(name, status, "request", "is not described"))
            return
        self._covered(operation.name)
        if status < 400:
            for problem in _request_problems(operation, query, body):
                self._violated(Violation(operation.name, status, "request", problem))
        wrong = _answer_problem(operation, status, answer)
        if wrong is not None:
            self._violated(Violation(operation.name, status, "answer", wrong))

    def _covered(self, name: str) -> None:
        if name not in self._operations:
            _append_report({"kind": "operation", "operation": name})
        self._operations[name] = self._operations.get(name, 0) + 1

    def _violated(self, violation: Violation) -> None:
        self._violations.append(violation)
        self._violation_count += 1
        _append_report({"kind": "violation", **asdict(violation)})


def _request_problems(operation: DescribedOperation, query: Mapping[str, str], body: bytes) -> list[str]:
    problems = [
        f"the query option {name} is not described"
        for name in query
        if name.startswith("$") and name not in operation.options and name.lower() not in _PAGING_OPTIONS
    ]
    found = [_option_problem(name, kind, query[name]) for name, kind in operation.options.items() if name in query]
    if operation.body is not None:
        found.append(_json_problem(operation.body, body))
    return problems + [problem for problem in found if problem is not None]


def _json_problem(check: Check, content: bytes) -> str | None:
    try:
        return check(json.loads(content))
    except ValueError:
        return "is not JSON"


def _answer_problem(operation: DescribedOperation, status: int, answer: bytes) -> str | None:
    """Return what is wrong with an answer; gateway failures (5xx) may have no document."""
    check = operation.answer_check(status)
    if check is None:
        return "has a body where none is described" if answer else None
    if not answer and status >= 500:
        return None
    return _json_problem(check, answer)


def _append_report(line: Mapping[str, Any]) -> None:
    """Add a line to the file that GRANTLINE_CONTRACT_REPORT names, so that a test run sums up all its processes."""
    path = os.environ.get(REPORT_VARIABLE)
    if path:
        with Path(path).open("a", encoding="utf-8") as report:
            report.write(json.dumps({**line, "pid": os.getpid()}) + "\n")
