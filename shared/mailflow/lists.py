"""The lists of a tenant that Grantline adds entries to beside those of others: how each is read, added to and taken from.

Never replaced where Exchange offers another way. Sources: the pages of the cmdlets (github:MicrosoftDocs/office-docs-powershell):
Set-HostedConnectionFilterPolicy, Set-InboundConnector and Set-TransportRule take a hash table of additions and removals;
Set-ArcConfig takes the whole list and returns it as one text with commas (its examples 2 and 4); entries for spoofed senders are
objects, made one by one and removed by their ids.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shared.mailflow.compare import has_entry

HASH_TABLE = "#Exchange.GenericHashTable"
"""How the endpoint is told that an object is a hash table (github:KelvinTegelaar/CIPP-API, Set-CIPPSpamfilter and others)."""
SPOOF_ENTRIES = "TenantAllowBlockListSpoofItems"
ARC = "ArcConfig"

Found = Mapping[str, Any]
Cmdlet = tuple[str, dict[str, Any], Sequence[str]]
"""A cmdlet, its parameters without Identity, and the entries that it adds or takes out."""


class ListWay(Protocol):
    """One way in which a list is kept. Entries are texts."""

    def read(self, found: Sequence[Found], name: str) -> list[str]:
        """Return the entries of the list ``name``, as they are written in what was read."""

    def add(self, noun: str, name: str, entries: Sequence[str], current: Sequence[str]) -> list[Cmdlet]:
        """Return the cmdlets that add the entries; all others stay."""

    def take(self, noun: str, name: str, entries: Sequence[str], found: Sequence[Found]) -> list[Cmdlet]:
        """Return the cmdlets that take out the entries; all others stay."""

    def script(self, noun: str, identity: str, name: str, entries: Sequence[str]) -> str:
        """Return the PowerShell by which a person takes out the entries, whatever else the list holds by then."""


class HashTable:
    """A list of an object that a hash table adds to and takes from."""

    def read(self, found: Sequence[Found], name: str) -> list[str]:
        """Return the entries of the object's property."""
        return [str(entry) for item in found for entry in _listed(item.get(name))]

    def add(self, noun: str, name: str, entries: Sequence[str], current: Sequence[str]) -> list[Cmdlet]:
        """Add all of them at once."""
        del current
        return [(f"Set-{noun}", {name: {"@odata.type": HASH_TABLE, "Add": list(entries)}}, entries)]

    def take(self, noun: str, name: str, entries: Sequence[str], found: Sequence[Found]) -> list[Cmdlet]:
        """Take out all of them at once, as the tenant writes them."""
        written = [text for text in self.read(found, name) if has_entry(name, entries, text)]
        return [(f"Set-{noun}", {name: {"@odata.type": HASH_TABLE, "Remove": written}}, entries)]

    def script(self, noun: str, identity: str, name: str, entries: Sequence[str]) -> str:
        """Take out those that are there; Exchange passes over the others."""
        return f"Set-{noun} -Identity {quoted(identity)} -{name} @{{Remove={quoted(entries)}}}"


class WholeList:
    """A list that can only be written whole: what is there is read, and goes back with it. One blank clears it."""

    def read(self, found: Sequence[Found], name: str) -> list[str]:
        """Return the entries, whether they come as a list or as one text with commas."""
        texts = [str(text) for item in found for text in _listed(item.get(name))]
        return [entry.strip() for text in texts for entry in text.split(",") if entry.strip()]

    def add(self, noun: str, name: str, entries: Sequence[str], current: Sequence[str]) -> list[Cmdlet]:
        """Write what is there and the entries."""
        return [(f"Set-{noun}", {name: [*current, *entries]}, entries)]

    def take(self, noun: str, name: str, entries: Sequence[str], found: Sequence[Found]) -> list[Cmdlet]:
        """Write what is there without the entries."""
        kept = [text for text in self.read(found, name) if not has_entry(name, entries, text)]
        return [(f"Set-{noun}", {name: kept or [" "]}, entries)]

    def script(self, noun: str, identity: str, name: str, entries: Sequence[str]) -> str:
        """Read the list at the time, and write back what else it holds."""
        kept = f"@((Get-{noun}).{name} -split ',' | Where-Object {{ $_.Trim() -notin {quoted(entries)} }})"
        return f"$kept = {kept}; Set-{noun} -Identity {quoted(identity)} -{name} $(if ($kept) {{ $kept }} else {{ ' ' }})"


class SpoofEntries:
    """The tenant's allow entries for spoofed senders; each is written as its type, its user and its infrastructure."""

    def read(self, found: Sequence[Found], name: str) -> list[str]:
        """Return the pairs that are allowed; a pair that is blocked is somebody's decision and no entry of this list."""
        del name
        return [spoof_text(item) for item in found if str(item.get("Action")).casefold() == "allow"]

    def add(self, noun: str, name: str, entries: Sequence[str], current: Sequence[str]) -> list[Cmdlet]:
        """Make each entry."""
        del name, current
        return [(f"New-{noun}", {**_spoof_pair(entry), "Action": "Allow"}, [entry]) for entry in entries]

    def take(self, noun: str, name: str, entries: Sequence[str], found: Sequence[Found]) -> list[Cmdlet]:
        """Remove the entries by their ids."""
        ids = [str(item["Identity"]) for item in found if has_entry(name, entries, spoof_text(item))]
        return [(f"Remove-{noun}", {"Ids": ids}, entries)]

    def script(self, noun: str, identity: str, name: str, entries: Sequence[str]) -> str:
        """Find the ids at the time."""
        del name
        written = '"$($_.SpoofType) $($_.SpoofedUser) $($_.SendingInfrastructure)"'
        found = f"Get-{noun} -Action Allow | Where-Object {{ {written} -in {quoted(entries)} }}"
        return f"{found} | ForEach-Object {{ Remove-{noun} -Identity {quoted(identity)} -Ids $_.Identity }}"


_SINGLE_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
_HASH_TABLE = HashTable()
LISTS: Mapping[str, ListWay] = {ARC: WholeList(), SPOOF_ENTRIES: SpoofEntries()}
"""The lists that are kept in a way of their own, by noun. A tenant always has one of each, if it reads as nothing."""
ENTRY_NOUNS = frozenset({SPOOF_ENTRIES})
"""The nouns whose objects are the entries of one list."""
WHOLE_NOUNS = frozenset({ARC})
"""The nouns whose lists are written whole, so that an entry of somebody's that came after the read would be lost."""


def way_of(noun: str) -> ListWay:
    """Return how the lists of a noun's objects are kept."""
    return LISTS.get(noun, _HASH_TABLE)


def quoted(value: Any) -> str:
    """Write a value as PowerShell takes it: a text in quotes, a list with commas, null, true or false.

    PowerShell ends a text in single quotes at any of five characters, and takes two of them for one (about_Quoting_Rules;
    ``CharTraits.IsSingleQuote`` of github:PowerShell/PowerShell).
    """
    if isinstance(value, list | tuple):
        return ",".join(map(quoted, value)) or "@()"
    if value is None or isinstance(value, bool):
        return {None: "$null", True: "$true", False: "$false"}[value]
    return "'" + _SINGLE_QUOTES.sub(r"\g<0>\g<0>", str(value)) + "'"


def spoof_entry(spoof_type: str, user: str, infrastructure: str) -> str:
    """Write an allow entry for a spoofed sender as the text that stands for it."""
    return f"{spoof_type} {user} {infrastructure}"


def spoof_text(item: Found) -> str:
    """Write an entry for a spoofed sender as it was read, allowed or blocked, as the text that stands for it."""
    return spoof_entry(*(str(item.get(name) or "") for name in ("SpoofType", "SpoofedUser", "SendingInfrastructure")))


def _spoof_pair(entry: str) -> dict[str, str]:
    spoof_type, user, infrastructure = entry.split(" ")
    return {"SpoofType": spoof_type, "SpoofedUser": user, "SendingInfrastructure": infrastructure}


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
