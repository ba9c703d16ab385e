"""What can be set on the simulated tenant, at the start or through `POST /_control/settings` while it runs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

_NUMBERS = (int, float)


class SettingsError(ValueError):
    """Raised when a setting is unknown, of another type, or negative; the message names each fault."""


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """Delays are in seconds unless the name says milliseconds. Every default is the quiet one: nothing slow, nothing refused."""

    latency_ms: int = 0
    """Added to every answer that is not the control interface's."""
    consent_delay: float = 0.0
    """From an accepted consent until the token endpoint knows the service principal and its permissions."""
    role_delay: float = 0.0
    """From a directory role assignment until tokens issued to its principal carry the role."""
    graph_units_per_10_seconds: int = 0
    """Graph resource units for one application in one tenant; 0: no throttling. Microsoft's own: 3500, 5000 or 8000."""
    exchange_requests_per_10_seconds: int = 0
    """Requests to Exchange's admin endpoint for one application in one tenant; 0: no throttling."""
    retry_after: int = 10
    """The `Retry-After` of a throttled answer."""
    customization_delay: float = 0.0
    """From Enable-OrganizationCustomization until what it allows is no longer refused; up to an hour is reported."""
    connector_in_use_removable: bool = False
    """A named uncertainty: whether an outbound connector that a rule routes to can be removed."""
    dehydrated_refuses_mail_flow: bool = False
    """A named uncertainty: whether a dehydrated organization refuses new transport rules and connectors as well."""
    reconsent_revokes: bool = False
    """A named uncertainty: whether a further admin consent takes away what is no longer registered."""
    user_consent: bool = True
    """Whether people may consent for themselves to what needs no administrator; many tenants switch it off."""
    late_permissions_delay: float = 0.0
    """Beyond `consent_delay`, until the second and every further application permission of one consent has spread."""
    credential_delay: float = 0.0
    """From a new secret or certificate until the token endpoint knows it."""
    blocked_people_return: bool = False
    """A named uncertainty: whether a Conditional Access refusal of a person is told to the client or stays on the page."""
    ignore_amr_request: bool = False
    """A named uncertainty: whether the `amr` that a `claims` parameter asks for leads to a second factor."""
    partners_need_consent: bool = False
    """A named uncertainty: whether a partner's people are refused (AADSTS90099) before the application has a consent."""
    address_changed: bool = False
    """Access tokens for CAE clients count as sent from another address than they were issued to."""
    activity_delay: float = 0.0
    """From the start of a subscription to activity data until its first content can be listed."""
    activity_page_size: int = 50
    """Pieces of content in one answer of the Management Activity API; Microsoft names no number."""
    omit_wids: bool = False
    """Leave `wids` out of id_tokens, as Microsoft may do when a token gets too long."""
    rule_propagation_minutes: float = 0.0
    """Until a changed transport rule has reached the last server; Microsoft names 30 minutes or more, the field up to 60."""
    message_trace_delay: float = 0.0
    """From a message until its status shows in message trace; before, it is GettingStatus."""
    page_size: int = 0
    """Graph's page size where a request names none; 0: the documented one of each collection."""
    delta_page_size: int = 200
    """Objects on a page of a delta query; the server chooses, and Microsoft names no number."""
    delta_members_size: int = 100
    """Members that one item of a group names in a delta query; the others follow on further pages."""
    delta_whole_items: bool = False
    """A named uncertainty: whether a changed object comes with all selected properties, or only with the changed ones."""
    delta_replays: int = 0
    """So many items at the end of each page of a delta query were there before, in the same round."""
    delta_empty_pages: int = 0
    """So many pages without an object begin each round of a delta query."""
    delta_latest_refused: bool = False
    """A named uncertainty: whether `$deltatoken=latest` is refused."""

    def changed(self, changes: dict[str, Any]) -> SimulationSettings:
        """These settings with `changes` applied; raises SettingsError, naming every fault, when one does not fit."""
        faults = [fault for name, value in changes.items() if (fault := _fault(name, value))]
        if faults:
            raise SettingsError("; ".join(faults))
        return replace(self, **changes)


def _fault(name: str, value: object) -> str | None:
    kinds = {field.name: type(field.default) for field in fields(SimulationSettings)}
    if name not in kinds:
        return f"{name}: no such setting"
    if kinds[name] is bool:
        return None if isinstance(value, bool) else f"{name}: true or false"
    allowed = _NUMBERS if kinds[name] is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed) or value < 0:
        return f"{name}: a number, zero or more"
    return None
