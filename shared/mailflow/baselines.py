"""The reverse report: which checks of public security baselines what Grantline makes turns red, and what would be gentler.

An auditor meets these findings sooner or later: they are told with the plan, before anything is made. Each check is data; its
``red`` says by the objects and settings alone whether they fail it, as the baseline's own published test does.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from shared.mailflow.desired import DesiredObject, DesiredSetting
from shared.mailflow.kinds import Kind

Wanted = DesiredObject | DesiredSetting

_SEALER = (
    "Leave the allow entries off (the default) and let the scanner seal messages (ARC): the setting GRANTLINE_ARC_SEALER adds "
    "its domain to the trusted sealers, which no baseline counts against a tenant."
)
_WITHOUT_SKIPPING = (
    "Let the scanner seal messages (ARC, GRANTLINE_ARC_SEALER), so that a second filtering does no harm, and have its verdicts "
    "acted on there. The rule itself believes nobody but the scanner's own addresses together with the grant's secret."
)
_EXCEPTION = (
    "None: Microsoft does not support Enhanced Filtering for a product that mail goes to from Exchange Online. Write it down as "
    "an accepted exception; the trusted sealer (ARC) does the same job."
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """One check of a public baseline: its own name and title, what turns it red, what would be gentler, and its source.

    ``red_by`` says in words what ``red`` finds.
    """

    suite: str
    check: str
    title: str
    red: Callable[[Wanted], bool]
    red_by: str
    gentler: str
    source: str


def _allows_addresses(item: Wanted) -> bool:
    return isinstance(item, DesiredSetting) and item.property == "IPAllowList"


def _skips_filtering(item: Wanted) -> bool:
    return isinstance(item, DesiredObject) and item.parameters.get("SetSCL") == -1


def _skips_filtering_for_domains(item: Wanted) -> bool:
    return isinstance(item, DesiredObject) and _skips_filtering(item) and bool(item.parameters.get("SenderDomainIs"))


def _takes_all_senders(item: Wanted) -> bool:
    """True for a connector of all senders without Enhanced Filtering, which the check takes for one behind another gateway."""
    if not isinstance(item, DesiredObject) or item.kind is not Kind.INBOUND_CONNECTOR:
        return False
    takes_all = "*" in item.parameters.get("SenderDomains", ())
    return takes_all and not (item.parameters.get("EFSkipLastIP") or item.parameters.get("EFSkipIPs"))


BASELINES: tuple[Baseline, ...] = (
    Baseline(
        "CISA SCuBA",
        "MS.SECURITYSUITE.8.1v1",
        "IP allow lists SHOULD NOT be created (was MS.EXO.12.1v1)",
        _allows_addresses,
        "IP allow entries (off by default)",
        _SEALER,
        "github.com/cisagov/ScubaGear baselines/securitysuite.md",
    ),
    Baseline(
        "CIS Microsoft 365 Foundations",
        "2.1.12",
        "Ensure the connection filter IP allow list is not used",
        _allows_addresses,
        "IP allow entries (off by default)",
        _SEALER,
        "github.com/maester365/maester Test-MtCisHostedConnectionFilterPolicy",
    ),
    Baseline(
        "Maester (ORCA)",
        "ORCA.114",
        "No IP Allow Lists have been configured",
        _allows_addresses,
        "IP allow entries (off by default)",
        _SEALER,
        "github.com/maester365/maester tests/orca",
    ),
    Baseline(
        "Maester",
        "MT.1043",
        "Ensure Spam confidence level (SCL) is configured in mail transport rules with specific domains",
        _skips_filtering,
        "the rule that spares clean messages a second spam filtering",
        _WITHOUT_SKIPPING,
        "github.com/maester365/maester Test-MtExoSetScl",
    ),
    Baseline(
        "CIS Microsoft 365 Foundations",
        "6.2.2",
        "Ensure mail transport rules do not whitelist specific domains",
        _skips_filtering_for_domains,
        "nothing that Grantline makes",
        _WITHOUT_SKIPPING,
        "CIS Microsoft 365 Foundations Benchmark, section 6.2",
    ),
    Baseline(
        "Maester (ORCA)",
        "ORCA.233.1",
        "Domains are pointed directly at EOP or enhanced filtering is configured on all default connectors",
        _takes_all_senders,
        "the return connectors",
        _EXCEPTION,
        "github.com/maester365/maester tests/orca; KelvinTegelaar/CIPP-API Invoke-CippTestORCA233_1",
    ),
)
"""Every check that what Grantline can make has to do with, also those that it keeps green."""


def baselines(wanted: Iterable[Wanted]) -> list[dict[str, Any]]:
    """Return the checks that these objects and settings turn red, each with them by name, as JSON values for people."""
    items = list(wanted)
    return [
        {
            "baseline": check.suite,
            "check": check.check,
            "title": check.title,
            "objects": [item.name for item in items if check.red(item)],
            "gentler": check.gentler,
            "source": check.source,
        }
        for check in BASELINES
        if any(map(check.red, items))
    ]
