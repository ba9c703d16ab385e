"""The filter language of Exchange's reading cmdlets (OPATH): `EmailAddresses -like '*@contoso.com' -and Name -ne 'x'`.

Operators -eq, -ne, -like, -notlike, joined by -and, -or, -not and parentheses, after
https://learn.microsoft.com/powershell/exchange/recipient-filters. A property with several values fits when one of them does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from local.microsoft365.exchange.errors import TRANSFORMATION, InvocationError

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(r"""\s*(?:(?P<mark>[()])|(?P<word>-\w+)|'(?P<single>(?:[^']|'')*)'|"(?P<double>[^"]*)"|(?P<name>[$\w.]+))""")
_COMPARISONS = frozenset({"-eq", "-ne", "-like", "-notlike"})
_CONSTANTS: Mapping[str, Any] = {"$true": True, "$false": False, "$null": None}


def matching(text: str) -> Predicate:
    """Return the test that a filter describes; raises InvocationError for a text that is no filter."""
    parser = _Parser(text)
    found = parser.alternatives()
    if parser.kind:
        raise parser.refusal()
    return found


class _Parser:
    """Reads one filter from left to right; `kind` and `value` are the token that stands next, empty at the end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self.kind, self.value, self._start = "", "", 0
        self._advance()

    def refusal(self) -> InvocationError:
        """Return the refusal of what stands at the present position."""
        reason = (
            "Invalid filter syntax. For a description of the filter parameter syntax see the command help. "
            f'"{self._text}" at position {self._start + 1}.'
        )
        message = f'Cannot bind parameter \'Filter\' to the target. Exception setting "Filter": "{reason}"'
        return InvocationError(message, kind=TRANSFORMATION)

    def _advance(self) -> None:
        rest = self._text[self._end :]
        self._start = self._end
        token = _TOKEN.match(rest)
        if token is None:
            self.kind, self.value = ("wrong" if rest.strip() else ""), rest
            return
        self._end += token.end()
        self.kind = str(token.lastgroup)
        self.value = token[self.kind]

    def _take(self, kind: str) -> str:
        if self.kind != kind:
            raise self.refusal()
        value = self.value
        self._advance()
        return value

    def _is_word(self, word: str) -> bool:
        return self.kind == "word" and self.value.lower() == word

    def alternatives(self) -> Predicate:
        """Read terms joined by -or."""
        terms = [self._terms()]
        while self._is_word("-or"):
            self._advance()
            terms.append(self._terms())
        return lambda row: any(term(row) for term in terms)

    def _terms(self) -> Predicate:
        terms = [self._term()]
        while self._is_word("-and"):
            self._advance()
            terms.append(self._term())
        return lambda row: all(term(row) for term in terms)

    def _term(self) -> Predicate:
        if self._is_word("-not"):
            self._advance()
            negated = self._term()
            return lambda row: not negated(row)
        if self.kind == "mark" and self.value == "(":
            self._advance()
            inner = self.alternatives()
            if self._take("mark") != ")":
                raise self.refusal()
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        name = self._take("name")
        operator = self.value.lower()
        if operator not in _COMPARISONS:
            raise self.refusal()
        self._take("word")
        return _compared(name, operator, self._operand())

    def _operand(self) -> Any:
        if self.kind not in {"single", "double", "name"}:
            raise self.refusal()
        kind, value = self.kind, self.value
        self._advance()
        if kind == "name":
            return _CONSTANTS.get(value.lower(), value)
        return value.replace("''", "'") if kind == "single" else value


def _compared(name: str, operator: str, wanted: Any) -> Predicate:
    def test(row: Mapping[str, Any]) -> bool:
        value = next((each for key, each in row.items() if key.lower() == name.lower()), None)
        values = value if isinstance(value, list) else [value]
        return any(_fits(each, wanted, is_pattern=operator.endswith("like")) for each in values)

    return (lambda row: not test(row)) if operator in {"-ne", "-notlike"} else test


def _fits(value: Any, wanted: Any, *, is_pattern: bool) -> bool:
    if isinstance(wanted, str) and isinstance(value, str):
        # Only the asterisk is a wildcard here; fnmatch knows more marks.
        pattern = re.sub(r"([\[?])", r"[\1]", wanted.lower())
        return fnmatchcase(value.lower(), pattern) if is_pattern else value.lower() == wanted.lower()
    return bool(value == wanted)
