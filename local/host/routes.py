"""Routes of HTTP functions: the part of ASP.NET's route templates that function apps use.

``{id}``, ``{id?}``, ``{id:int}``, ``{*rest}``; literal parts are compared without case. Constraints and precedence: Microsoft,
"Routing in ASP.NET Core" (route constraints; URL matching prefers literal, then constrained, then free, then catch-all segments).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

_CONSTRAINTS: Mapping[str, str] = {
    "int": r"-?\d{1,10}",
    "long": r"-?\d{1,19}",
    "bool": r"(?i:true|false)",
    "guid": r"[0-9A-Fa-f]{8}-?(?:[0-9A-Fa-f]{4}-?){3}[0-9A-Fa-f]{12}",
    "alpha": r"[A-Za-z]+",
}
_PARAMETER = re.compile(r"\{(?P<catch_all>\*{0,2})(?P<name>\w+)(?::(?P<constraint>\w+))?(?P<optional>\??)\}")
_LITERAL, _CONSTRAINED, _FREE, _OPTIONAL, _CATCH_ALL = range(5)


@dataclass(frozen=True, slots=True)
class _Segment:
    rank: int
    pattern: str


def _parameter(match: re.Match[str]) -> _Segment:
    name, constraint = match["name"], match["constraint"]
    if match["catch_all"]:
        return _Segment(_CATCH_ALL, f"(?:/(?P<{name}>.*))?")
    if constraint and constraint not in _CONSTRAINTS:
        raise ValueError(f"route constraint '{constraint}' is not one of {', '.join(sorted(_CONSTRAINTS))}")
    value = _CONSTRAINTS[constraint] if constraint else "[^/]+"
    if match["optional"]:
        return _Segment(_OPTIONAL, f"(?:/(?P<{name}>{value}))?")
    return _Segment(_CONSTRAINED if constraint else _FREE, f"/(?P<{name}>{value})")


def _segment(text: str) -> _Segment:
    match = _PARAMETER.fullmatch(text)
    if match is not None:
        return _parameter(match)
    if "{" in text or "}" in text:
        raise ValueError(f"route segment '{text}' is neither text nor one parameter")
    return _Segment(_LITERAL, f"/(?i:{re.escape(text)})")


@dataclass(frozen=True, slots=True)
class Route:
    """One route template, with the prefix of host.json."""

    template: str
    _pattern: re.Pattern[str]
    precedence: tuple[int, ...]
    """Compared as tuples: the route that is lower serves a path which both match."""

    def match(self, path: str) -> dict[str, str] | None:
        """Give the parameters, decoded, when this encoded path is the route's; None when it isn't."""
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        return {name: unquote(value) for name, value in found.groupdict().items() if value is not None}


def parse_route(prefix: str, template: str) -> Route:
    """Read a route template; raise ValueError when this host doesn't know its form, or it lies under ``admin``."""
    whole = "/".join(part for part in (prefix.strip("/"), template.strip("/")) if part)
    texts = whole.split("/") if whole else []
    if texts and texts[0].lower() == "admin":
        raise ValueError(f"route '{whole}' conflicts with the host's own 'admin' paths")
    segments = [_segment(text) for text in texts]
    pattern = "".join(segment.pattern for segment in segments) + "/?"
    return Route(whole, re.compile(pattern), tuple(segment.rank for segment in segments) or (_LITERAL,))
