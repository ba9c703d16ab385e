"""Grantline's objects, each broken in one way that real-tenants.md forbids, and the harm that the plan must find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.mailflow.desired import DesiredObject, Request
from shared.mailflow.route.findings import Harm

Mutate = Callable[[Request, DesiredObject], dict[str, Any]]
"""Which parameters one object gets: the changed ones alone; None takes a parameter away."""


@dataclass(frozen=True)
class Mutation:
    """One way to break the objects whose name ends in ``ends`` and begins in the direction, and what must be found."""

    id: str
    rule: str
    broken: str
    ends: str
    change: Mutate
    harm: Harm
    sample: str

    def applied(self, request: Request, desired: Sequence[DesiredObject]) -> tuple[DesiredObject, ...]:
        """Return the objects with the broken one among them."""
        return tuple(self._broken(request, item) if item.name.endswith(self.ends) else item for item in desired)

    def _broken(self, request: Request, item: DesiredObject) -> DesiredObject:
        changed = {**item.parameters, **self.change(request, item)}
        return replace(item, parameters={name: value for name, value in changed.items() if value is not None})


def _always(**parameters: Any) -> Mutate:
    return lambda _request, _item: parameters


def _header(**more: Any) -> dict[str, Any]:
    return {"ExceptIfHeaderContainsMessageHeader": "X-Scanned", "ExceptIfHeaderContainsWords": ["yes"], **more}


_IN, _OUT = "Inbound Domain Rule", "Outbound Domain Rule"
_CLEAN, _BACK_IN, _BACK_OUT = "Skip Spam Filter Rule", "Inbound Return Connector", "Outbound Return Connector"
MUTATIONS = (
    Mutation(
        "out-return-partner",
        "1",
        "The outbound return connector is of type Partner.",
        _BACK_OUT,
        _always(ConnectorType="Partner"),
        Harm.LOSS,
        "to outside",
    ),
    Mutation(
        "out-return-by-address",
        "1",
        "The outbound return connector also names the addresses that inbound mail returns from.",
        _BACK_OUT,
        lambda request, _: {"SenderIPAddresses": list(request.scanner.inbound_egress)},
        Harm.LOSS,
        "to another customer",
    ),
    Mutation(
        "out-return-shared-certificate",
        "1",
        "The outbound return connector names a wildcard that the certificate of the inbound return matches.",
        _BACK_OUT,
        lambda request, _: {"TlsSenderCertificateName": f"*.{request.scanner.inbound_host.partition('.')[2]}"},
        Harm.LOSS,
        "to another customer",
    ),
    Mutation(
        "out-return-other-certificate",
        "1",
        "The outbound return connector names the certificate of another grant.",
        _BACK_OUT,
        lambda request, _: {"TlsSenderCertificateName": f"other.{request.scanner.certificate_zone}"},
        Harm.LOSS,
        "to outside",
    ),
    Mutation(
        "outbound-by-header-sender",
        "1",
        "The outbound rule reads the From header, so that it routes null senders.",
        _OUT,
        _always(SenderAddressLocation="Header"),
        Harm.LOSS,
        "automatic reply to outside",
    ),
    Mutation(
        "outbound-of-all-senders",
        "1",
        "The outbound rule routes every sender, but the certificate's name is no accepted domain.",
        _OUT,
        _always(SenderDomainIs=None, SenderAddressLocation=None),
        Harm.LOSS,
        "forward to outside",
    ),
    Mutation(
        "inbound-loop",
        "3",
        "The inbound rule has no exception for what comes back.",
        _IN,
        _always(ExceptIfSenderIpRanges=None),
        Harm.LOOP,
        "from outside",
    ),
    Mutation(
        "outbound-loop",
        "3",
        "The outbound rule has the exception of the other direction.",
        _OUT,
        lambda request, _: {"ExceptIfSenderIpRanges": list(request.scanner.inbound_egress)},
        Harm.LOOP,
        "to outside",
    ),
    Mutation(
        "exception-by-header",
        "3",
        "The loop exception is a header in the place of the address.",
        _IN,
        _always(**_header(ExceptIfSenderIpRanges=None)),
        Harm.BYPASS,
        "forged X-Scanned",
    ),
    Mutation(
        "exception-by-header-too",
        "3",
        "A header is an exception beside the address.",
        _IN,
        _always(**_header()),
        Harm.BYPASS,
        "forged X-Scanned",
    ),
    Mutation(
        "exception-by-type",
        "3",
        "A message type, which the sender chooses, is an exception.",
        _IN,
        _always(ExceptIfMessageTypeMatches="OOF"),
        Harm.BYPASS,
        "automatic reply from outside",
    ),
    Mutation(
        "verdict-by-header",
        "3",
        "The verdict rule believes the header from any address.",
        _CLEAN,
        _always(SenderIpRanges=None),
        Harm.FORGERY,
        "stolen verdict secret",
    ),
    Mutation(
        "verdict-by-address",
        "3",
        "The verdict rule believes the scanner's address without the secret.",
        _CLEAN,
        _always(HeaderContainsMessageHeader=None, HeaderContainsWords=None),
        Harm.FORGERY,
        "from the scanner's address",
    ),
    Mutation(
        "verdict-by-guess",
        "3",
        "The verdict header holds a word that can be guessed in the place of the grant's secret.",
        _CLEAN,
        _always(HeaderContainsWords=["true"]),
        Harm.FORGERY,
        "forged verdict: clean",
    ),
    Mutation(
        "ignored-error",
        "5",
        "The inbound rule ignores errors, and its connector is off.",
        "Inbound Routing Connector",
        _always(Enabled=False),
        Harm.BYPASS,
        "from outside",
    ),
    Mutation(
        "spoof-unscanned",
        "6",
        "The inbound rule asks for FromScope in the place of Exchange's own header.",
        _IN,
        _always(FromScope="NotInOrganization", HeaderMatchesMessageHeader=None, HeaderMatchesPatterns=None),
        Harm.BYPASS,
        "own-domain spoof",
    ),
    Mutation(
        "inside-scanned",
        "6",
        "The inbound rule does not ask who a message comes from.",
        _IN,
        _always(HeaderMatchesMessageHeader=None, HeaderMatchesPatterns=None),
        Harm.OVERREACH,
        "inside",
    ),
    Mutation(
        "domain-forgotten",
        "6",
        "The inbound rule names the default domain alone, not the onmicrosoft.com one.",
        _IN,
        _always(RecipientDomainIs=["contoso.com"]),
        Harm.BYPASS,
        "from outside",
    ),
    Mutation(
        "all-recipients-act",
        "6",
        "The outbound rule acts on all recipients as soon as one is outside.",
        _OUT,
        _always(SentToScope=None, AnyOfRecipientAddressContainsWords=["receiver.example", "other-customer.example"]),
        Harm.OVERREACH,
        "to inside and outside",
    ),
)
"""Every mutation. RuleErrorAction is made Ignore where the id is ``ignored-error``; see the test."""
