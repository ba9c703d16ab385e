"""Access keys of the HTTP side: made at random for each data directory, and which level a presented key gives.

Order and levels: azure-functions-host ``AuthenticationLevelHandler.cs``.
"""

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self


class AuthLevel(IntEnum):
    """What a key allows; a higher level allows all that a lower one does."""

    ANONYMOUS = 0
    FUNCTION = 1
    ADMIN = 2


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one host."""

    master: str
    host: str
    functions: Mapping[str, str]

    @classmethod
    def load(cls, path: Path, function_names: Iterable[str]) -> Self:
        """Read the keys of this data directory and make those that are missing; the file is its owner's alone."""
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        functions = stored.get("functions", {})
        keys = cls(
            master=stored.get("master") or _new_key(),
            host=stored.get("host") or _new_key(),
            functions={name: functions.get(name) or _new_key() for name in function_names},
        )
        keys._save(path)
        return keys

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"master": self.master, "host": self.host, "functions": dict(self.functions)}, indent=1)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)

    def level(self, presented: str, function_name: str) -> AuthLevel:
        """Tell what a key allows for a function: master, then the host's key, then the function's own, else nothing."""
        if _same(presented, self.master):
            return AuthLevel.ADMIN
        if _same(presented, self.host) or _same(presented, self.functions.get(function_name, self.host)):
            return AuthLevel.FUNCTION
        return AuthLevel.ANONYMOUS


def _new_key() -> str:
    return secrets.token_urlsafe(32)
