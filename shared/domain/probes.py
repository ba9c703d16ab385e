"""Test messages by which a grant's mail flow is proved: what is ordered of the product."""

from dataclasses import dataclass
from enum import StrEnum

from shared.domain.grant import Direction


class ProbeKind(StrEnum):
    """What a test message is to show.

    ``normal``: it is scanned once and delivered. ``alias``: so is what is sent to another address of a mailbox, which rules don't
    see. ``spoofed``: what pretends, in From, to come from the recipient's own domain is scanned once or refused, never let by.
    ``forged_header``: the header of the scanner's verdict, sent by somebody else, is not believed and spares nothing. ``looped``:
    what goes in circles is refused.
    """

    NORMAL = "normal"
    ALIAS = "alias"
    SPOOFED = "spoofed"
    FORGED_HEADER = "forged_header"
    LOOPED = "looped"


@dataclass(frozen=True, slots=True)
class Probe:
    """One test message: inbound from the product's address to a mailbox of ``domain``, outbound the other way.

    ``message_id`` is its Message-ID, in angle brackets, by which message trace finds it; no other message has it.
    """

    probe_id: str
    direction: Direction
    kind: ProbeKind
    domain: str
    mail_from: str
    recipient: str
    message_id: str
