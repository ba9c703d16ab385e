"""Reads the `claims` parameter: what a client asks its tokens to carry (OpenID Connect Core, section 5.5).

Sources: entra-docs claims-challenge.md (client capability cp1 as `xms_cc`; a challenge is sent back as it came) and
developer-guide-conditional-access-authentication-context.md (`acrs`). That `amr` with `mfa` leads to a second factor is
seen in the requests of Microsoft's own sites; no page documents it for others, so a setting switches it off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local.microsoft365.identity.errors import IdentityError

_TOKENS = ("access_token", "id_token")


@dataclass(frozen=True, slots=True)
class ClaimsRequest:
    """What a client asks for."""

    is_cae_client: bool = False
    """Whether it says that it can handle a claims challenge (cp1)."""
    methods: frozenset[str] = frozenset()
    """The asked values of `amr`."""
    contexts: tuple[str, ...] = ()
    """The asked values of `acrs`: authentication contexts."""


def read_claims(text: str) -> ClaimsRequest:
    """Read the parameter; empty asks for nothing. Raises IdentityError 90100 when it is not a JSON object of objects."""
    if not text:
        return ClaimsRequest()
    try:
        asked: Any = json.loads(text)
    except ValueError as error:
        raise IdentityError(90100, field="claims") from error
    if not isinstance(asked, dict) or not all(isinstance(asked.get(name) or {}, dict) for name in _TOKENS):
        raise IdentityError(90100, field="claims")
    capabilities = {each.lower() for each in _values(asked, "xms_cc")}
    return ClaimsRequest("cp1" in capabilities, frozenset(_values(asked, "amr")), tuple(dict.fromkeys(_values(asked, "acrs"))))


def _values(asked: Mapping[str, Any], claim: str) -> Iterator[str]:
    """The values of one claim, for whichever token they are asked."""
    for name in _TOKENS:
        demand = (asked.get(name) or {}).get(claim)
        if isinstance(demand, dict):
            values = demand.get("values", [demand["value"]] if "value" in demand else [])
            yield from (str(each) for each in (values if isinstance(values, list) else [values]))
