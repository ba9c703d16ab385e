"""Everything that speaks to Microsoft, over one set of connections."""

from datetime import UTC, datetime

from shared.microsoft import errors
from shared.microsoft.activity import ActivityFeed
from shared.microsoft.clouds import Egress, cloud_of
from shared.microsoft.exchange import ExchangeAdmin
from shared.microsoft.graph import Graph, GraphConnection, GraphDirectory, OpenCredential
from shared.microsoft.identity import EntraIdentity, Tokens
from shared.microsoft.permissions import Application
from shared.microsoft.roles import GraphRoles
from shared.microsoft.sign_in import EntraSignIn
from shared.microsoft.transport import open_client, tls_context
from shared.ports import Clock
from shared.settings import Settings


class MicrosoftClient:
    """``ports.Microsoft``. Nothing is loaded, connected or asked for before the first use; it belongs to one event loop."""

    def __init__(self, settings: Settings, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._cloud = cloud_of(settings)
        self._publisher = settings.publisher_tenant_id or ""
        self._egress = Egress(self._cloud)
        tls = tls_context(settings.ca_file)
        self._http = open_client(self._egress, tls)
        self._graph = GraphConnection(self._cloud, open_client(self._egress, tls))
        self._tokens = Tokens(settings, self._cloud, self._egress, tls)
        self._sign_in = EntraSignIn(self._tokens, self._cloud, self._http, self._egress, tls)
        self._identity = EntraIdentity(self._tokens, self._cloud, settings)

    @property
    def sign_in(self) -> EntraSignIn:
        """See ``ports.Microsoft``."""
        return self._sign_in

    @property
    def identity(self) -> EntraIdentity:
        """See ``ports.Microsoft``."""
        return self._identity

    def exchange(self, tenant_id: str) -> ExchangeAdmin:
        """See ``ports.Microsoft``. One token serves the whole life of what is returned."""
        credential = self._credential(Application.MAIL_FLOW, tenant_id)
        return ExchangeAdmin(self._cloud, self._egress, self._http, tenant_id, credential)

    def directory(self, tenant_id: str) -> GraphDirectory:
        """See ``ports.Microsoft``."""
        return GraphDirectory(Graph(self._graph, self._credential(Application.DIRECTORY, tenant_id), errors.DIRECTORY))

    def roles(self, tenant_id: str, access_token: str = "", *, application: str = "") -> GraphRoles:
        """See ``ports.Microsoft``. A delegated token says itself which tenant it is for."""
        if access_token:
            return GraphRoles(Graph(self._graph, lambda: self._tokens.given(access_token), errors.ROLES), self._clock)
        caller = Application(application)
        graph = Graph(self._graph, self._credential(caller, tenant_id), errors.APPLICATION_ROLES)
        return GraphRoles(graph, self._clock, reads_assignments=caller is Application.ROLE_ASSIGNER)

    def activity(self, tenant_id: str) -> ActivityFeed:
        """See ``ports.Microsoft``. One token serves the whole life of what is returned."""
        credential = self._credential(Application.ACTIVITY, tenant_id)
        return ActivityFeed(self._cloud, self._http, tenant_id, credential, self._publisher)

    async def close(self) -> None:
        """Close every connection and credential."""
        await self._http.aclose()
        await self._graph.close()
        await self._tokens.close()

    def _credential(self, application: Application, tenant_id: str) -> OpenCredential:
        return lambda: self._tokens.open(application, tenant_id)
