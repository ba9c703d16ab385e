"""Requests for mail-flow objects: settings made up for tests, and strategies that vary them."""

from base64 import urlsafe_b64encode

from hypothesis import settings
from hypothesis import strategies as st

from shared.domain.grant import Direction, Intent, Scope, ScopeKind
from shared.mailflow.desired import AcceptedDomain, Request, Routing
from shared.mailflow.verdict import verdict_secret
from shared.settings import Settings, load

GRANT_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
CALM = settings(deadline=None, derandomize=True)
"""Property tests give the same verdict on every machine, however busy it is."""
_CLIENT = "11111111-1111-4111-8111-11111111111{}"
DOMAINS = (
    AcceptedDomain("contoso.com", is_default=True),
    AcceptedDomain("contoso.net"),
    AcceptedDomain("contoso.onmicrosoft.com", is_initial=True),
)
ENVIRONMENT = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "GRANTLINE_PUBLIC_URL": "https://console.example.com",
    "GRANTLINE_MAIL_FLOW_CLIENT_ID": _CLIENT.format(1),
    "GRANTLINE_DIRECTORY_CLIENT_ID": _CLIENT.format(2),
    "GRANTLINE_ROLE_HELPER_CLIENT_ID": _CLIENT.format(3),
    "GRANTLINE_MANAGED_IDENTITY_CLIENT_ID": _CLIENT.format(4),
    "GRANTLINE_SEALING_KEY": urlsafe_b64encode(bytes(range(32))).decode(),
    "GRANTLINE_SCANNER_INBOUND_HOST": "in.scanner.example.net",
    "GRANTLINE_SCANNER_OUTBOUND_HOST": "out.scanner.example.net",
    "GRANTLINE_SCANNER_INBOUND_EGRESS": "192.0.2.0/25,192.0.2.200",
    "GRANTLINE_SCANNER_OUTBOUND_EGRESS": "198.51.100.0/24",
    "GRANTLINE_SCANNER_CERTIFICATE_ZONE": "relay.scanner.example.net",
}
SETTINGS: Settings = load(ENVIRONMENT)


def request(
    directions: tuple[Direction, ...] = tuple(Direction),
    scope: Scope = Scope(),  # noqa: B008 - frozen
    *,
    settings: Settings = SETTINGS,
    routing: Routing = Routing.OFF,
    grant_id: str = GRANT_ID,
) -> Request:
    """Return a request for objects."""
    secret = verdict_secret(settings.sealing_key, grant_id)
    return Request(grant_id, Intent(directions, scope, "standard"), settings, DOMAINS, secret, routing)


SCOPES = st.sampled_from(
    [
        Scope(),
        Scope(ScopeKind.DOMAINS, ("contoso.net", "contoso.com")),
        Scope(ScopeKind.GROUP, group="everybody@contoso.com"),
        Scope(ScopeKind.USERS, users=("ada@contoso.com", "bob@contoso.onmicrosoft.com")),
    ]
)
DIRECTIONS = st.sampled_from([(Direction.INBOUND,), (Direction.OUTBOUND,), tuple(Direction)])
REQUESTS = st.builds(request, DIRECTIONS, SCOPES, routing=st.sampled_from(Routing))
