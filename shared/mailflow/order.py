"""The order in which the rules of a tenant are to stand, computed purely; the diff and the plan both use it (real-tenants.md 4).

Routing rules stand first and stop rule processing, so that rules of others run once: on the message that comes back. One
exception: the rule that routes outgoing mail stands behind the rules of others that end an outgoing message (reject, delete) or
route it themselves (another vendor's gateway), because what comes back would not look to them as it did when it was sent.

For whoever places rules: ``wanted_order`` names all rules, those of others in the order that they have. A rule of ours stands
right exactly when its place in the tenant is its index there (once every rule of ours exists).
"""

from collections.abc import Iterable, Sequence

from shared.mailflow.desired import DesiredObject, standing
from shared.mailflow.kinds import Kind
from shared.mailflow.tenant import Found

_ENDING = ("RejectMessageReasonText", "RejectMessageEnhancedStatusCode", "DeleteMessage")
_ROUTING = "RouteMessageOutboundConnector"
_OUTSIDE, _INSIDE = "NotInOrganization", "InOrganization"


def wanted_order(desired: Sequence[DesiredObject], found_rules: Iterable[Found]) -> list[str]:
    """Return the names of all rules in the order in which they are to stand.

    ``found_rules`` are the answers of Get-TransportRule. Rules of others keep their order among each other; the wanted rules are
    named whether they exist or not, as ``desired`` spells them.
    """
    ours = standing(desired)
    own = {name.casefold() for name in ours}
    ranked = sorted(found_rules, key=lambda rule: int(rule["Priority"]))
    others = [rule for rule in ranked if str(rule["Name"]).casefold() not in own]
    waits = max((place for place, rule in enumerate(others, 1) if goes_before_outgoing(rule)), default=0)
    outgoing = {item.name for item in desired if _routes_outgoing(item)} if waits else set()
    names = [str(rule["Name"]) for rule in others]
    top = [name for name in ours if name not in outgoing]
    below = [name for name in ours if name in outgoing]
    return [*top, *names[:waits], *below, *names[waits:]]


def goes_before_outgoing(rule: Found) -> bool:
    """True for a rule of somebody else, as it was found, that must see an outgoing message before it is routed to the scanner."""
    acts = str(rule.get("State")) == "Enabled" and str(rule.get("Mode") or "Enforce") == "Enforce"
    concerns = rule.get("SentToScope") != _INSIDE and rule.get("FromScope") != _OUTSIDE
    return acts and concerns and any(rule.get(action) for action in (*_ENDING, _ROUTING))


def _routes_outgoing(item: DesiredObject) -> bool:
    return item.kind is Kind.TRANSPORT_RULE and item.routes and item.parameters.get("SentToScope") == _OUTSIDE
