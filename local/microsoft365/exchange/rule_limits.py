"""How many transport rules there may be, and how large.

Numbers: learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits, "Journal,
transport, and inbox rule limits". The words for a rule that is too large: learn.microsoft.com/exchange/troubleshoot,
transport-rule-not-created-because-too-large. Size and RegexSize of Get-TransportRule: Exchange team blog, "Finding Transport
Rule Size". Lengths of texts: the page of New-TransportRule.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from local.microsoft365.exchange.errors import VALIDATION, invalid

MAXIMUM_RULES = 300
MAXIMUM_SIZE = 8192
MAXIMUM_PATTERN_SIZE = 20 * 1024
"""Characters of all regular expressions of all rules."""
_LENGTHS = {"Comments": 1024, "RejectMessageReasonText": 1024, "GenerateNotification": 5120}


def sizes(rule: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Return Size and RegexSize of a rule whose conditions, exceptions and actions have these names.

    Exchange counts the characters of the XML that it keeps a rule in; here those of the same values in JSON are counted.
    """
    values = {name: rule[name] for name in names if rule.get(name) not in (None, False, [], "")}
    patterns = [each for name, value in values.items() if name.endswith("Patterns") for each in value]
    return {"Size": len(json.dumps(values)), "RegexSize": sum(map(len, patterns))}


def check_sizes(rule: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> None:
    """Raise ExecutionError when the rule or one of its texts is too long, or all rules together have too many patterns."""
    for name, longest in _LENGTHS.items():
        if len(rule.get(name) or "") > longest:
            raise invalid(f"The length of the property is too long. The maximum length of {name} is {longest}.", VALIDATION)
    if rule["Size"] > MAXIMUM_SIZE:
        message = (
            f"The rule can't be created because it is too large. It has {rule['Size']} characters and maximum number of "
            f"characters is {MAXIMUM_SIZE}. Please reduce the size."
        )
        raise invalid(message, VALIDATION)
    patterns = rule["RegexSize"] + sum(other.get("RegexSize", 0) for other in others)
    if rule["RegexSize"] and patterns > MAXIMUM_PATTERN_SIZE:
        message = f"The regular expressions of all rules can't have more than {MAXIMUM_PATTERN_SIZE} characters."
        raise invalid(message, VALIDATION)


def check_count(rules: list[dict[str, Any]]) -> None:
    """Raise ExecutionError when there is no room for one rule more."""
    if len(rules) >= MAXIMUM_RULES:
        raise invalid(f"The organization can't have more than {MAXIMUM_RULES} transport rules.", VALIDATION)
