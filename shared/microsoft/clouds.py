"""Where Microsoft is: the hosts of each Microsoft cloud, and the one list of hosts that Grantline may speak to.

Sources: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud (authorities),
https://learn.microsoft.com/graph/deployments (Graph), https://learn.microsoft.com/exchange/reference/admin-api-endpoints-overview
(Exchange), and "Configure an application to trust a managed identity" (audiences of federated credentials). The Office 365
Management APIs: https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference, which
names no host of 21Vianet's; that one is known in the field only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from shared.domain.problems import problem
from shared.microsoft.permissions import Resource
from shared.ports import RefusedError
from shared.settings import Settings

HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Cloud:
    """One Microsoft cloud: where requests go, what tokens are asked for, and the audience of a managed identity's assertion.

    The resources keep their names where a setting sends the requests to another host.
    """

    authority: str
    graph: str
    exchange: str
    management: str
    graph_resource: str
    exchange_resource: str
    management_resource: str
    assertion_audience: str

    def scope(self, resource: Resource) -> str:
        """Return the scope that asks for all that is granted on a resource."""
        names = {
            Resource.GRAPH: self.graph_resource,
            Resource.EXCHANGE: self.exchange_resource,
            Resource.MANAGEMENT: self.management_resource,
        }
        return f"{names[resource]}/.default"


def _cloud(authority: str, graph: str, exchange: str, management: str, audience: str) -> Cloud:
    services = (f"https://{graph}", f"https://{exchange}", f"https://{management}")
    return Cloud(f"https://{authority}", *services, *services, assertion_audience=audience)


_WORLDWIDE = _cloud(
    "login.microsoftonline.com", "graph.microsoft.com", "outlook.office365.com", "manage.office.com", "api://AzureADTokenExchange"
)

CLOUDS: Mapping[str, Cloud] = {
    "global": _WORLDWIDE,
    "gcc": replace(_WORLDWIDE, management="https://manage-gcc.office.com", management_resource="https://manage-gcc.office.com"),
    "gcc_high": _cloud(
        "login.microsoftonline.us",
        "graph.microsoft.us",
        "outlook.office365.us",
        "manage.office365.us",
        "api://AzureADTokenExchangeUSGov",
    ),
    "dod": _cloud(
        "login.microsoftonline.us",
        "dod-graph.microsoft.us",
        "outlook-dod.office365.us",
        "manage.protection.apps.mil",
        "api://AzureADTokenExchangeUSGov",
    ),
    "china": _cloud(
        "login.partner.microsoftonline.cn",
        "microsoftgraph.chinacloudapi.cn",
        "outlook.office365.cn",
        "manage.office365.cn",
        "api://AzureADTokenExchangeChina",
    ),
}
"""Every cloud by its setting. GCC uses the worldwide hosts, but for the Office 365 Management APIs."""


def cloud_of(settings: Settings) -> Cloud:
    """Return the cloud that the settings name, with the hosts that they put in place of the cloud's."""
    cloud = CLOUDS[settings.cloud]
    return replace(
        cloud,
        authority=settings.authority_url or cloud.authority,
        graph=settings.graph_url or cloud.graph,
        exchange=settings.exchange_url or cloud.exchange,
        management=settings.management_url or cloud.management,
    )


PORTALS: Mapping[str, str] = {
    "global": "https://entra.microsoft.com",
    "gcc": "https://entra.microsoft.com",
    "gcc_high": "https://entra.microsoft.us",
    "dod": "https://entra.microsoft.us",
    "china": "https://entra.microsoftonline.cn",
}
"""The Microsoft Entra admin center of each cloud; people are sent there, no request of ours is."""
ROLES_PAGE = "/#view/Microsoft_AAD_IAM/RolesManagementMenuBlade/~/AllRoles"
"""The page "Roles & admins" of the admin center."""


def roles_page(settings: Settings) -> str:
    """Return the address of the page where an administrator assigns directory roles by hand."""
    return f"{settings.portal_url or PORTALS[settings.cloud]}{ROLES_PAGE}"


Origin = tuple[str, str, int]


def origin(url: str) -> Origin:
    """Return scheme, host and port of an address; of one that can't be read, an origin that is nobody's."""
    try:
        parts = urlsplit(url)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or HTTPS_PORT
    except ValueError:
        return "", "", 0


class Egress:
    """The hosts that Grantline may speak to: those of its cloud, and Exchange's regional hosts under the configured one.

    Exchange's front door may send a tenant to a host of its region, such as ``eur01b.outlook.office365.com``.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._origins = frozenset(origin(url) for url in (cloud.authority, cloud.graph, cloud.exchange, cloud.management))
        self._exchange = origin(cloud.exchange)

    def allows(self, url: str) -> bool:
        """Tell whether a request may go to this address."""
        scheme, host, port = origin(url)
        regional = host.endswith(f".{self._exchange[1]}") and (scheme, port) == (self._exchange[0], self._exchange[2])
        return regional or (scheme, host, port) in self._origins

    def check(self, url: str) -> None:
        """Raise RefusedError unless a request may go to this address; the error names the host alone."""
        if not self.allows(url):
            host = origin(url)[1]
            raise RefusedError(f"{host} is not a configured host", problem("unexpected_host", raw=host))
