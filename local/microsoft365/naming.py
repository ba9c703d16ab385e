"""How the fields of the model are called where Microsoft's names are asked for."""

from __future__ import annotations

import re

_CAMEL = re.compile(r"_([a-z])")
_NAMES = {"created_at": "createdDateTime", "visible_at": "visibleDateTime"}


def camel_case(name: str) -> str:
    """A field's name as Graph writes it."""
    return _NAMES.get(name) or _CAMEL.sub(lambda match: match[1].upper(), name)
