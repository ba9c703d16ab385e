"""The conditions of transport rules. Each is a function of what a rule looks at and of the property's value.

Those about a recipient are asked for each one, and a rule acts on the recipients that they fit; the others are asked of the
whole message. Words, scopes, address kinds: the page of New-TransportRule (github:MicrosoftDocs/office-docs-powershell).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from local.microsoft365.mail.addresses import domain_of, has_pattern, has_word, in_ranges, is_within
from local.microsoft365.mail.directory import TenantMail
from local.microsoft365.mail.model import AUTHENTICATED_AS, Addressee, Copy, Switches

READABLE_TYPES: Mapping[str, str] = {
    "auto_reply": "OOF",
    "auto_forward": "AutoForward",
    "encrypted": "Encrypted",
    "calendar": "Calendaring",
    "rights_protected": "PermissionControlled",
    "signed": "Signed",
    "read_receipt": "ReadReceipt",
}
"""MessageTypeMatches by the kind of a trace; normal mail and bounces have no type of their own."""
SEALED = frozenset({"encrypted", "rights_protected"})
"""Kinds whose body a rule can't read or change (real-tenants.md, S/MIME and RMS)."""


@dataclass(frozen=True, slots=True)
class View:
    """What a rule sees while one tenant looks at one copy. `location` says where sender conditions look."""

    tenant: TenantMail
    copy: Copy
    switches: Switches
    location: str = "Header"
    address_type: str = "Resolved"

    @property
    def senders(self) -> list[str]:
        """The sender's addresses at the location."""
        envelope, header = self.copy.mail_from, self.copy.header_from
        by_location = {"Header": (header,), "Envelope": (envelope,), "HeaderOrEnvelope": (header, envelope)}
        return [address for address in by_location.get(self.location, (header,)) if address]

    def address(self, addressee: Addressee) -> str:
        """A recipient's address: the primary one, or as written where the rule says Original."""
        return addressee.original if self.address_type == "Original" else addressee.address

    def header(self, name: str) -> list[str]:
        """The values of a header, as far as rules can read it."""
        key = name.lower()
        if key == AUTHENTICATED_AS and not self.switches.auth_header_in_conditions:
            return []
        return self.copy.headers.get(key, [])


def _lowered(values: Any) -> list[str]:
    if not values:
        return []
    return [str(value).lower() for value in ([values] if isinstance(values, str) else values)]


def _people(view: View, values: Any) -> set[str]:
    """The addresses of the recipients that a property names, primary where they are ours."""
    return {view.tenant.person(value) or value for value in _lowered(values)}


def _in_group(view: View, addresses: Iterable[str], groups: Any) -> bool:
    """Tell whether one of the addresses, as it stands, is in one of the groups; a group that is gone has nobody."""
    return any(not frozenset(addresses).isdisjoint(view.tenant.members(group) or ()) for group in _lowered(groups))


def _is_one_of(view: View, addresses: Iterable[str], values: Any) -> bool:
    """Tell whether one of the addresses, as it stands, is the primary one of somebody named."""
    return not _people(view, values).isdisjoint(addresses)


def _from_scope(view: View, value: Any) -> bool:
    """Who is inside. Microsoft's pages disagree on senders that didn't authenticate; then they may be neither in nor out."""
    is_ours = view.tenant.owns(view.copy.header_from)
    if value == "NotInOrganization":
        return not is_ours
    return is_ours and (view.copy.is_internal or not view.switches.from_scope_needs_authentication)


def _header(view: View, name: str, *, spread: bool) -> list[str]:
    """The addresses of a header, or those whom the message was addressed to, where it has none."""
    written = [address.strip().lower() for text in view.copy.headers.get(name, ()) for address in text.split(",")]
    written = [address.rpartition("<")[2].rstrip(">") for address in written if address]
    return written or (list(view.copy.to) if spread else [])


def _to_header(view: View) -> list[str]:
    return _header(view, "to", spread=True)


def _cc_header(view: View) -> list[str]:
    return _header(view, "cc", spread=False)


def _to_cc_header(view: View) -> list[str]:
    return _to_header(view) + _cc_header(view)


def _subject_or_body(view: View) -> list[str]:
    return [view.copy.subject] if view.copy.kind in SEALED else [view.copy.subject, view.copy.body]


def _between(view: View, groups: Any) -> bool:
    """Tell whether sender and recipients are in either of two groups (BetweenMemberOf1 and 2)."""
    first, second = groups
    to = [each.address for each in view.copy.recipients]
    senders = view.senders
    there = _in_group(view, senders, first) and _in_group(view, to, second)
    return there or (_in_group(view, senders, second) and _in_group(view, to, first))


def _size_over(view: View, value: Any) -> bool:
    return view.copy.size_kb > kilobytes(value)


_UNITS = {"b": 1 / 1024, "kb": 1, "mb": 1024, "gb": 1024 * 1024}


def kilobytes(value: Any) -> float:
    """Return a size such as `10 MB`, `10 MB (10,485,760 bytes)`, or a number of bytes. Raises ValueError for none."""
    if isinstance(value, int | float):
        return value / 1024
    text = str(value).partition("(")[0].strip().lower()
    number = text.rstrip("bkmg ")
    unit = text[len(number) :].strip() or "b"
    return float(number.replace(",", "")) * _UNITS[unit]


def _words(texts: Callable[[View], list[str]], view: View, words: Any) -> bool:
    return any(has_word(text, words) for text in texts(view))


def _patterns(texts: Callable[[View], list[str]], view: View, patterns: Any) -> bool:
    return any(has_pattern(text, patterns) for text in texts(view))


def _subject(view: View) -> list[str]:
    return [view.copy.subject]


def _all_addresses(view: View) -> list[str]:
    return [view.address(each) for each in view.copy.recipients]


def _senders(view: View) -> list[str]:
    return view.senders


MessageCondition = Callable[[View, Any], bool]
RecipientCondition = Callable[[View, Addressee, Any], bool]

MESSAGE_CONDITIONS: Mapping[str, MessageCondition] = {
    "From": lambda view, value: _is_one_of(view, view.senders, value),
    "FromMemberOf": lambda view, value: _in_group(view, view.senders, value),
    "FromScope": _from_scope,
    "FromAddressContainsWords": partial(_words, _senders),
    "FromAddressMatchesPatterns": partial(_patterns, _senders),
    "SenderDomainIs": lambda view, value: any(
        is_within(domain_of(sender), domain) for sender in view.senders for domain in _lowered(value)
    ),
    "SenderIpRanges": lambda view, value: in_ranges(view.copy.source_ip, [value] if isinstance(value, str) else value),
    "AnyOfToHeader": lambda view, value: _is_one_of(view, _to_header(view), value),
    "AnyOfToHeaderMemberOf": lambda view, value: _in_group(view, _to_header(view), value),
    "AnyOfCcHeader": lambda view, value: _is_one_of(view, _cc_header(view), value),
    "AnyOfCcHeaderMemberOf": lambda view, value: _in_group(view, _cc_header(view), value),
    "AnyOfToCcHeader": lambda view, value: _is_one_of(view, _to_cc_header(view), value),
    "AnyOfToCcHeaderMemberOf": lambda view, value: _in_group(view, _to_cc_header(view), value),
    "AnyOfRecipientAddressContainsWords": partial(_words, _all_addresses),
    "AnyOfRecipientAddressMatchesPatterns": partial(_patterns, _all_addresses),
    "BetweenMemberOf1": _between,
    "HeaderContainsMessageHeader": lambda view, value: any(has_word(text, value[1]) for text in view.header(value[0])),
    "HeaderMatchesMessageHeader": lambda view, value: any(has_pattern(text, value[1]) for text in view.header(value[0])),
    "MessageTypeMatches": lambda view, value: READABLE_TYPES.get(view.copy.kind) == value,
    "MessageSizeOver": _size_over,
    "SubjectContainsWords": partial(_words, _subject),
    "SubjectMatchesPatterns": partial(_patterns, _subject),
    "SubjectOrBodyContainsWords": partial(_words, _subject_or_body),
    "SubjectOrBodyMatchesPatterns": partial(_patterns, _subject_or_body),
    "SCLOver": lambda view, value: view.copy.scl is not None and view.copy.scl >= int(value),
    "HasNoClassification": lambda _view, _value: True,
}

RECIPIENT_CONDITIONS: Mapping[str, RecipientCondition] = {
    "SentTo": lambda view, to, value: (to.person or to.address) in _people(view, value),
    "SentToMemberOf": lambda view, to, value: _in_group(view, (to.person or to.address,), value),
    "SentToScope": lambda view, to, value: view.tenant.owns(to.address) is (value == "InOrganization"),
    "RecipientDomainIs": lambda view, to, value: _recipient_domain(view, to, _lowered(value)),
    "RecipientAddressContainsWords": lambda view, to, value: has_word(view.address(to), value),
    "RecipientAddressMatchesPatterns": lambda view, to, value: has_pattern(view.address(to), value),
}

COMPANIONS: Mapping[str, str] = {
    "HeaderContainsMessageHeader": "HeaderContainsWords",
    "HeaderMatchesMessageHeader": "HeaderMatchesPatterns",
    "BetweenMemberOf1": "BetweenMemberOf2",
}
"""Properties that mean something only together."""


def _recipient_domain(view: View, to: Addressee, domains: list[str]) -> bool:
    domain = domain_of(view.address(to))
    if view.switches.recipient_domain_includes_subdomains:
        return any(is_within(domain, wanted) for wanted in domains)
    return domain in domains
