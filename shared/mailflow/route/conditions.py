"""The conditions of transport rules, each as a test of what a rule sees. The page of New-TransportRule is the source of each.

A test answers True, False, or None where it can't be told: a condition that the model does not know, or a group whose members
were not read.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from shared.mailflow.route.model import AUTHENTICATED_AS, RecipientTest, Sight, Test, domain_of, is_in, number, span

Settings = Mapping[str, Any]
"""A rule as Get-TransportRule returns it."""
_TYPES = {
    "OOF": "auto_reply",
    "AutoForward": "auto_forward",
    "Encrypted": "encrypted",
    "Calendaring": "calendar",
    "PermissionControlled": "rights_protected",
    "Signed": "signed",
    "ReadReceipt": "read_receipt",
}
_UNREADABLE = ("encrypted", "rights_protected")
"""Kinds of messages of which only the headers are readable (S/MIME and rights management)."""
_UNITS = {"": 1 / 1024, "B": 1 / 1024, "KB": 1.0, "MB": 1024.0, "GB": 1048576.0}
_SIZE = re.compile(r"([\d.]+)\s*([KMG]?B)?", re.IGNORECASE)


def values_of(value: Any) -> tuple[str, ...]:
    """Return a property's values as texts in lower case, whether it is one value or a list."""
    items: Iterable[Any] = value if isinstance(value, list | tuple) else (value,)
    return tuple(str(item).casefold().removeprefix("smtp:") for item in items if item is not None)


@lru_cache(1024)
def _words(words: tuple[str, ...]) -> re.Pattern[str]:
    """Words and phrases match as a whole, whatever their letter case."""
    return re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words), re.IGNORECASE)


@lru_cache(1024)
def _patterns(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return the regular expressions as one; None for one that Python can't read, whose result can't be told."""
    try:
        return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)
    except re.error:
        return None


def _raw(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value if isinstance(value, list | tuple) else (value,)))


def _found(pattern: re.Pattern[str] | None, *texts: str) -> bool | None:
    return None if pattern is None else any(map(pattern.search, texts))


def _senders(rule: Settings) -> Callable[[Sight], tuple[str, ...]]:
    """Return what reads the sender's addresses: of the header unless SenderAddressLocation says otherwise."""
    location = str(rule.get("SenderAddressLocation") or "Header")
    if location == "Envelope":
        return lambda sight: (sight.copy.mail_from,)
    if location == "HeaderOrEnvelope":
        return lambda sight: (sight.copy.header_from, sight.copy.mail_from)
    return lambda sight: (sight.copy.header_from,)


def _within(address: str, domains: Iterable[str]) -> bool:
    domain = domain_of(address)
    return any(domain == each or domain.endswith(f".{each}") for each in domains)


def _from(rule: Settings, value: Any, _: str) -> Test:
    senders, wanted = _senders(rule), values_of(value)
    return lambda sight: any(sender in wanted for sender in senders(sight))


def _from_scope(_: Settings, value: Any, __: str) -> Test:
    wants_inside = str(value) == "InOrganization"

    def test(sight: Sight) -> bool:
        sender = sight.copy.header_from
        known = sender in sight.tenant.directory or domain_of(sender) in sight.tenant.domains
        if not wants_inside:
            return domain_of(sender) not in sight.tenant.domains
        return known and (not sight.oracle("from_scope_needs_authentication") or sight.copy.authenticated)

    return test


def _from_member_of(rule: Settings, value: Any, _: str) -> Test:
    senders, groups = _senders(rule), values_of(value)

    def test(sight: Sight) -> bool | None:
        found = senders(sight)
        return _any(_is_member(sight, sender, groups) for sender in found)

    return test


def _sender_domain(rule: Settings, value: Any, _: str) -> Test:
    senders, domains = _senders(rule), values_of(value)
    return lambda sight: any(_within(sender, domains) for sender in senders(sight))


def _sender_words(rule: Settings, value: Any, _: str) -> Test:
    senders, words = _senders(rule), _words(values_of(value))
    return lambda sight: _found(words, *senders(sight))


def _sender_patterns(rule: Settings, value: Any, _: str) -> Test:
    senders, pattern = _senders(rule), _patterns(_raw(value))
    return lambda sight: _found(pattern, *senders(sight))


def _sender_ranges(_: Settings, value: Any, __: str) -> Test:
    spans = tuple(span(text) for text in _raw(value))
    return lambda sight: is_in(spans, number(sight.copy.source_ip))


def _header_words(rule: Settings, value: Any, prefix: str) -> Test:
    name, words = str(rule.get(f"{prefix}HeaderContainsMessageHeader") or "").casefold(), _words(values_of(value))
    return lambda sight: _found(words, _header(sight, name))


def _header_patterns(rule: Settings, value: Any, prefix: str) -> Test:
    name, pattern = str(rule.get(f"{prefix}HeaderMatchesMessageHeader") or "").casefold(), _patterns(_raw(value))

    def test(sight: Sight) -> bool | None:
        text = _header(sight, name)
        return _found(pattern, text) if text else False

    return test


def _header(sight: Sight, name: str) -> str:
    """Return a header's text, "" for none; what stands in every message is known without being among the headers."""
    if name == AUTHENTICATED_AS and not sight.oracle("auth_header_in_conditions"):
        return ""
    text = sight.copy.headers.get(name)
    if text is not None:
        return text
    if name == "subject":
        return sight.copy.message.subject
    return {"from": sight.copy.header_from, "to": ", ".join(sight.copy.message.to)}.get(name, "")


def _message_type(_: Settings, value: Any, __: str) -> Test:
    kind = _TYPES.get(str(value), "")
    return lambda sight: sight.copy.kind == kind


def _subject_words(_: Settings, value: Any, __: str) -> Test:
    words = _words(values_of(value))
    return lambda sight: _found(words, _header(sight, "subject"))


def _subject_patterns(_: Settings, value: Any, __: str) -> Test:
    pattern = _patterns(_raw(value))
    return lambda sight: _found(pattern, _header(sight, "subject"))


def _text_words(_: Settings, value: Any, __: str) -> Test:
    words = _words(values_of(value))
    return lambda sight: _found(words, *_texts(sight))


def _text_patterns(_: Settings, value: Any, __: str) -> Test:
    pattern = _patterns(_raw(value))
    return lambda sight: _found(pattern, *_texts(sight))


def _texts(sight: Sight) -> tuple[str, ...]:
    subject = _header(sight, "subject")
    return (subject,) if sight.copy.kind in _UNREADABLE else (subject, sight.copy.message.body)


def _size_over(_: Settings, value: Any, __: str) -> Test:
    limit = kilobytes(value)
    return lambda sight: sight.copy.message.size_kb > limit


def kilobytes(value: Any) -> float:
    """Return a size as Exchange writes it, such as ``5 MB (5,242,880 bytes)`` or a number of bytes, in kilobytes."""
    found = _SIZE.match(str(value).replace(",", "").strip())
    return float(found[1]) * _UNITS[(found[2] or "").upper()] if found else 0.0


def _scl_over(_: Settings, value: Any, __: str) -> Test:
    """A level is known only where a rule has set one: that of the filters comes after the rules, or is lost on the way."""
    limit = int(value)
    return lambda sight: None if sight.copy.scl is None else sight.copy.scl >= limit


def _any_of_to(_: Settings, value: Any, __: str) -> Test:
    wanted = values_of(value)
    return lambda sight: any(address in wanted for address in sight.copy.message.to)


def _any_recipient_words(_: Settings, value: Any, __: str) -> Test:
    words = _words(values_of(value))
    return lambda sight: _found(words, *sight.copy.recipients)


def _any_recipient_patterns(_: Settings, value: Any, __: str) -> Test:
    pattern = _patterns(_raw(value))
    return lambda sight: _found(pattern, *sight.copy.recipients)


def _sent_to(_: Settings, value: Any, __: str) -> RecipientTest:
    wanted = values_of(value)
    return lambda _, recipient: recipient in wanted


def _sent_to_scope(_: Settings, value: Any, __: str) -> RecipientTest:
    wants_inside = str(value) == "InOrganization"
    return lambda sight, recipient: (domain_of(recipient) in sight.tenant.domains) is wants_inside


def _sent_to_member_of(_: Settings, value: Any, __: str) -> RecipientTest:
    groups = values_of(value)
    return lambda sight, recipient: _is_member(sight, recipient, groups)


def _recipient_domain(_: Settings, value: Any, __: str) -> RecipientTest:
    domains = values_of(value)

    def test(sight: Sight, recipient: str) -> bool:
        if domain_of(recipient) in domains:
            return True
        return _within(recipient, domains) and sight.oracle("recipient_domain_includes_subdomains")

    return test


def _recipient_words(_: Settings, value: Any, __: str) -> RecipientTest:
    words = _words(values_of(value))
    return lambda _, recipient: _found(words, recipient)


def _recipient_patterns(_: Settings, value: Any, __: str) -> RecipientTest:
    pattern = _patterns(_raw(value))
    return lambda _, recipient: _found(pattern, recipient)


def _is_member(sight: Sight, address: str, groups: Iterable[str]) -> bool | None:
    """A group that is gone has no members: the rule silently does nothing (page of New-TransportRule)."""
    answers = (sight.tenant.members(group) for group in groups)
    return _any(None if members is None else address in members for members in answers)


def _any(answers: Iterable[bool | None]) -> bool | None:
    found = list(answers)
    return True if True in found else None if None in found else False


MESSAGE_TESTS: Mapping[str, Callable[[Settings, Any, str], Test]] = {
    "From": _from,
    "FromScope": _from_scope,
    "FromMemberOf": _from_member_of,
    "FromAddressContainsWords": _sender_words,
    "FromAddressMatchesPatterns": _sender_patterns,
    "SenderDomainIs": _sender_domain,
    "SenderIpRanges": _sender_ranges,
    "HeaderContainsWords": _header_words,
    "HeaderMatchesPatterns": _header_patterns,
    "MessageTypeMatches": _message_type,
    "SubjectContainsWords": _subject_words,
    "SubjectMatchesPatterns": _subject_patterns,
    "SubjectOrBodyContainsWords": _text_words,
    "SubjectOrBodyMatchesPatterns": _text_patterns,
    "MessageSizeOver": _size_over,
    "SCLOver": _scl_over,
    "AnyOfToHeader": _any_of_to,
    "AnyOfRecipientAddressContainsWords": _any_recipient_words,
    "AnyOfRecipientAddressMatchesPatterns": _any_recipient_patterns,
}
"""Conditions on a message as a whole: what they decide, they decide for all recipients."""
RECIPIENT_TESTS: Mapping[str, Callable[[Settings, Any, str], RecipientTest]] = {
    "SentTo": _sent_to,
    "SentToScope": _sent_to_scope,
    "SentToMemberOf": _sent_to_member_of,
    "RecipientDomainIs": _recipient_domain,
    "RecipientAddressContainsWords": _recipient_words,
    "RecipientAddressMatchesPatterns": _recipient_patterns,
}
"""Conditions on single recipients: a message is forked where they differ."""
COMPANIONS = frozenset({"HeaderContainsMessageHeader", "HeaderMatchesMessageHeader"})
"""Conditions that are told together with another one."""


def cannot_be_told(_: Sight) -> None:
    """Stand for a condition that the model does not know."""
