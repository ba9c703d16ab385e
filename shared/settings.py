"""The settings: read once from the app settings (environment variables), every fault told at once."""

import ipaddress
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, SecretStr, ValidationError

from shared.certificates import Certificate, read_certificate
from shared.domain.problems import GrantlineError
from shared.scanners import PARTS, Scanner, host, networks, overlap, regions, scanners, split

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SettingsError(GrantlineError):
    """Raised at the start when settings are missing or malformed; its message lists every fault, a line each."""


def _url(value: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d+)?", value):
        raise ValueError("must be https://host without a path")
    return value


def _public_url(value: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+(:\d+)?|http://(localhost|127\.0\.0\.1)(:\d+)?", value):
        raise ValueError("must be https://host without a path (http only for localhost)")
    return value


def _guid(value: str) -> str:
    if not GUID.fullmatch(value.lower()):
        raise ValueError("must be a GUID")
    return value.lower()


DNS_PORT = 53


def _server(value: str) -> tuple[str, int]:
    """Return the IP address and the port of ``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` or ``[2001:db8::1]:5353``."""
    found = re.fullmatch(r"\[(?P<v6>.+)](:(?P<v6port>\d{1,5}))?|(?P<v4>[\d.]+)(:(?P<v4port>\d{1,5}))?|(?P<plain>.+)", value)
    parts = found.groupdict() if found else {}
    port = int(parts["v6port"] or parts["v4port"] or DNS_PORT) if found else 0
    if not 0 < port < 2**16:
        raise ValueError("a port is between 1 and 65535")
    return str(ipaddress.ip_address(parts["v6"] or parts["v4"] or parts["plain"])), port


def _dns_server(value: str) -> str:
    try:
        _server(value)
    except ValueError:
        raise ValueError("must be an IP address, with or without a port: 192.0.2.53 or 192.0.2.53:5353") from None
    return value


def _key(value: SecretStr) -> SecretStr:
    if len(urlsafe_b64decode(value.get_secret_value() + "==")) != 32:
        raise ValueError("must be 32 bytes in base64url")
    return value


def _mailbox_permission(value: str) -> str:
    """Return the permission; "" for none: an app setting can't be empty and set at once."""
    if value not in ("none", "Mail.ReadBasic.All", "Mail.Read", "Mail.ReadWrite"):
        raise ValueError("must be Mail.ReadBasic.All, Mail.Read, Mail.ReadWrite or none")
    return "" if value == "none" else value


CONTENT_TYPES = ("Audit.AzureActiveDirectory", "Audit.Exchange", "Audit.SharePoint", "Audit.General")
"""The content types of the Office 365 Management Activity API that its permission ActivityFeed.Read is for (its reference,
"Working with the API"); DLP.All needs ActivityFeed.ReadDlp, which nobody is asked for."""


def _content_types(value: str) -> str:
    if not split(value) or set(split(value)) - set(CONTENT_TYPES):
        raise ValueError(f"must be some of: {', '.join(CONTENT_TYPES)}")
    return value


def _justification(value: str) -> str:
    try:
        places = {name: (spec, conversion) for _, name, spec, conversion in Formatter().parse(value) if name is not None}
    except ValueError:
        places = {"": ("", None)}
    if places.keys() - {"product", "account"} or set(places.values()) - {("", None)}:
        raise ValueError("may hold {product} and {account}, and no other braces")
    if not value.format(product="", account="").strip() or len(value) > 400:
        raise ValueError("must be 1 to 400 characters")
    return value


ALLOW_ENTRIES = ("ip", "spoof")
"""The kinds of allow entries that spare the scanner's mail a judgement of Microsoft's, each a risk of its own."""


def _allow_entries(value: str) -> str:
    if value != "none" and (not split(value) or set(split(value)) - set(ALLOW_ENTRIES)):
        raise ValueError(f"must be none, or some of: {', '.join(ALLOW_ENTRIES)}")
    return value


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """The user-assigned managed identity that vouches for an application: a registration's federated credential trusts it."""

    client_id: str


ClientCredential = SecretStr | Certificate | ManagedIdentity
"""What an application proves to Microsoft with that it is the operator's."""


def _certificate(value: str) -> Certificate:
    certificate = read_certificate(value)
    if certificate.ends_at <= datetime.now(UTC):
        raise ValueError(f"has expired on {certificate.ends_at:%Y-%m-%d}")
    return certificate


def _former(value: str) -> SecretStr | Certificate:
    """Return a credential that may have expired: it is what is left of a rotation, and nothing depends on it for long."""
    return read_certificate(value) if "-----BEGIN" in value else SecretStr(value)


ClientCertificate = Annotated[Certificate, PlainValidator(_certificate)]
FormerCredential = Annotated[SecretStr | Certificate, PlainValidator(_former)]
ContentTypes = Annotated[str, AfterValidator(_content_types)]
Justification = Annotated[str, AfterValidator(_justification)]
MailboxPermission = Annotated[str, AfterValidator(_mailbox_permission)]
HttpsUrl = Annotated[str, AfterValidator(_url)]
Guid = Annotated[str, AfterValidator(_guid)]
Host = Annotated[str, AfterValidator(host)]
Networks = Annotated[str, AfterValidator(networks)]
Regions = Annotated[str, AfterValidator(regions)]
DnsServer = Annotated[str, AfterValidator(_dns_server)]
AllowEntries = Annotated[str, AfterValidator(_allow_entries)]
SealingKey = Annotated[SecretStr, AfterValidator(_key)]


_CERTIFICATE = "Its certificate with the private key, PEM; without this and a client secret: the managed identity."
_DEVELOPMENT = "Its client secret, for development."
_FORMER = "Its former certificate or client secret, tried while Microsoft does not know the newer one."


class Settings(BaseModel):
    """Everything that an operator sets.

    A field ``x_y`` is the app setting ``GRANTLINE_X_Y``; storage is the host's own ``AzureWebJobsStorage`` (a connection string,
    or ``AzureWebJobsStorage__accountName`` with a managed identity).
    """

    model_config = ConfigDict(frozen=True)

    public_url: Annotated[str, AfterValidator(_public_url)] = Field(
        description="Address of the console, without a path; the registrations' redirect URIs begin with it."
    )
    cloud: str = Field(
        "global", pattern="^(global|gcc|gcc_high|dod|china)$", description="The Microsoft cloud of the customers' tenants."
    )
    authority_url: HttpsUrl | None = Field(None, description="Sign-in host instead of the cloud's (the simulated tenant's).")
    graph_url: HttpsUrl | None = Field(None, description="Microsoft Graph host instead of the cloud's.")
    exchange_url: HttpsUrl | None = Field(None, description="Exchange Online host instead of the cloud's.")
    management_url: HttpsUrl | None = Field(None, description="Office 365 Management APIs' host instead of the cloud's.")
    portal_url: HttpsUrl | None = Field(None, description="Microsoft Entra admin center instead of the cloud's; only linked to.")
    ca_file: str | None = Field(None, description="Certificate authority to trust beside the usual ones, PEM file.")

    mail_flow_client_id: Guid = Field(description="Client id of the mail-flow application.")
    mail_flow_certificate: ClientCertificate | None = Field(None, description=_CERTIFICATE)
    mail_flow_client_secret: SecretStr | None = Field(None, description=_DEVELOPMENT)
    mail_flow_former_credential: FormerCredential | None = Field(None, description=_FORMER)
    directory_client_id: Guid = Field(description="Client id of the directory application.")
    directory_certificate: ClientCertificate | None = Field(None, description=_CERTIFICATE)
    directory_client_secret: SecretStr | None = Field(None, description=_DEVELOPMENT)
    directory_former_credential: FormerCredential | None = Field(None, description=_FORMER)
    role_helper_client_id: Guid = Field(description="Client id of the role helper, used for delegated sign-in only.")
    role_helper_certificate: ClientCertificate | None = Field(None, description=_CERTIFICATE)
    role_helper_client_secret: SecretStr | None = Field(None, description=_DEVELOPMENT)
    role_helper_former_credential: FormerCredential | None = Field(None, description=_FORMER)
    activity_client_id: Guid | None = Field(
        None, description="Client id of the activity application; empty: the permission to read activity data is never offered."
    )
    activity_certificate: ClientCertificate | None = Field(None, description=_CERTIFICATE)
    activity_client_secret: SecretStr | None = Field(None, description=_DEVELOPMENT)
    activity_former_credential: FormerCredential | None = Field(None, description=_FORMER)
    activity_content_types: ContentTypes = Field(
        "Audit.Exchange,Audit.AzureActiveDirectory",
        description="Content types of the activity data that are subscribed to, separated by commas.",
    )
    publisher_tenant_id: Guid | None = Field(
        None, description="The operator's own tenant, named to the activity API so that its calls have a quota of their own."
    )
    role_assigner_client_id: Guid | None = Field(
        None,
        description="Client id of the role assigner, which assigns the role by an application permission; "
        "empty: that way is never offered.",
    )
    role_assigner_certificate: ClientCertificate | None = Field(None, description=_CERTIFICATE)
    role_assigner_client_secret: SecretStr | None = Field(None, description=_DEVELOPMENT)
    role_assigner_former_credential: FormerCredential | None = Field(None, description=_FORMER)
    role_watch: bool = Field(
        False, description="The directory application also registers the optional permission to see when the role ends."
    )
    role_justification: Justification = Field(
        "{product} sets up and looks after the mail flow of {account}.",
        description="Justification of the role's assignment; {product} and {account} stand for their names.",
    )
    managed_identity_client_id: Guid | None = Field(
        None, description="User-assigned managed identity that the registrations' federated credentials trust."
    )
    mailbox_permission: MailboxPermission = Field(
        "Mail.ReadBasic.All", description="The product's permission for all mailboxes; `none`: none is asked for."
    )

    sealing_key: SealingKey = Field(description="32 random bytes in base64url: seals tokens and verifiers in the tables.")
    verdict_key: SealingKey | None = Field(
        None,
        description="32 random bytes in base64url, which the scanner holds too: grants' verdict secrets are derived from them; "
        "empty: from the sealing key, which no scanner should know.",
    )
    product_name: str = Field(
        "Grantline", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,23}$", description="Name that the mail-flow objects begin with."
    )
    scanner_inbound_host: Host = Field(description="Smart host of the scanner for inbound mail.")
    scanner_outbound_host: Host = Field(description="Smart host of the scanner for outbound mail.")
    scanner_inbound_egress: Networks = Field(description="Ranges that inbound mail returns from, separated by commas.")
    scanner_outbound_egress: Networks = Field(description="Ranges that outbound mail returns from, separated by commas.")
    scanner_certificate_zone: Host = Field(
        description="Zone of the scanner's certificates: outbound mail of a grant returns with <grant>.<zone>."
    )
    mail_proof: str = Field(
        "on",
        pattern="^(on|off)$",
        description="`off`: no test messages are sent, and a grant stays completed, without being called protecting.",
    )
    plan_approval: str = Field(
        "auto",
        pattern="^(auto|operator)$",
        description="`operator`: no tenant's mail flow is changed before an operator has approved the plan. "
        "A change that can't be undone always waits.",
    )
    scanner_regions: Regions = Field(
        "{}",
        description="More scanners, by region, for grants that name one: JSON, for each region an object with inbound_host, "
        "outbound_host, inbound_egress, outbound_egress and certificate_zone, each a text like the settings of that name.",
    )
    allow_entries: AllowEntries = Field(
        "none",
        description="Allow entries for mail that returns from the scanner: `ip`, `spoof` or both, separated by commas; "
        "`none`: none. Only where a mail proof fails without them: each trusts everybody who shares the scanner's addresses.",
    )
    arc_sealer: Host | None = Field(
        None, description="Domain that the scanner seals messages with (ARC); empty: no trusted sealer is added in tenants."
    )
    outbound_senders: str = Field(
        "own_domains",
        pattern="^(own_domains|all)$",
        description="Whose outbound mail is scanned. `own_domains`: that of envelope senders in accepted domains. `all`: also "
        "bounces, automatic replies and forwards; needs each grant's certificate name as accepted domain of its tenant, by hand.",
    )
    dns_resolver: DnsServer | None = Field(
        None, description="The one DNS resolver that is asked for MX records, IP address with or without a port; empty: none is."
    )
    policies: str = Field(
        "standard", description="Policies that a grant can enable, separated by commas; the first is preselected."
    )

    storage_connection: SecretStr | None = Field(None, description="Set by the host: AzureWebJobsStorage.")
    storage_queue_url: str | None = Field(None, description="Set by the host: AzureWebJobsStorage__queueServiceUri.")
    storage_table_url: str | None = Field(None, description="Set by the host: AzureWebJobsStorage__tableServiceUri.")
    storage_client_id: str | None = Field(None, description="Set by the host: AzureWebJobsStorage__clientId.")

    sign_in_on: bool = Field(False, description="Set by App Service: WEBSITE_AUTH_ENABLED.")
    development_identity: bool = Field(
        False,
        description="Everyone on this machine is an operator; refused where App Service runs the app.",
    )
    site_name: str = Field("", description="Set by App Service: WEBSITE_SITE_NAME.")

    def credentials_of(self, application: str) -> tuple[ClientCredential, ...]:
        """Return what an application proves itself with, in the order in which it is tried: the newest first."""
        certificate, secret, former = (getattr(self, f"{application}_{name}") for name in CREDENTIALS)
        identity = self.managed_identity_client_id and ManagedIdentity(self.managed_identity_client_id)
        return tuple(found for found in (certificate, secret, identity, former) if found)

    @property
    def verdict_secrets_key(self) -> SecretStr:
        """The key that grants' verdict secrets are derived from."""
        return self.verdict_key or self.sealing_key

    @property
    def offers_activity(self) -> bool:
        """True where an administrator can be asked for the permission to read activity data."""
        return self.activity_client_id is not None

    @property
    def offers_role_assigner(self) -> bool:
        """True where the role can be assigned by an application permission."""
        return self.role_assigner_client_id is not None

    @property
    def content_type_names(self) -> tuple[str, ...]:
        """The content types of the activity data that are subscribed to."""
        return split(self.activity_content_types)

    @property
    def scanners(self) -> Mapping[str, Scanner]:
        """The scanners by their region; "" is the region without a name."""
        return scanners({part: getattr(self, f"scanner_{part}") for part in PARTS}, self.scanner_regions)

    def scanner(self, region: str = "") -> Scanner:
        """Return the scanner of a region. Raises SettingsError for one that is not set (any more)."""
        try:
            return self.scanners[region]
        except KeyError:
            raise SettingsError(f"GRANTLINE_SCANNER_REGIONS: has no region '{region}', which a grant names") from None

    @property
    def allow_entry_kinds(self) -> tuple[str, ...]:
        """The kinds of allow entries that are made in tenants."""
        return tuple(kind for kind in split(self.allow_entries) if kind != "none")

    @property
    def dns_server(self) -> tuple[str, int] | None:
        """IP address and port of the DNS resolver, None where none is set."""
        return _server(self.dns_resolver) if self.dns_resolver else None

    @property
    def policy_names(self) -> tuple[str, ...]:
        """The policies that a grant can enable."""
        return split(self.policies)


_LAST = "_former_credential"
APPLICATIONS = tuple(name.removesuffix(_LAST) for name in Settings.model_fields if name.endswith(_LAST))
"""The operator's applications, as their fields begin."""
CREDENTIALS = ("certificate", "client_secret", "former_credential")
"""An application's own credentials, by the ends of their fields, in the order in which they are tried."""


PLATFORM_SETTINGS = {
    "storage_connection": "AzureWebJobsStorage",
    "storage_queue_url": "AzureWebJobsStorage__queueServiceUri",
    "storage_table_url": "AzureWebJobsStorage__tableServiceUri",
    "storage_client_id": "AzureWebJobsStorage__clientId",
    "sign_in_on": "WEBSITE_AUTH_ENABLED",
    "site_name": "WEBSITE_SITE_NAME",
}
"""Fields that the functions host or App Service names, not Grantline."""


def setting_name(field: str) -> str:
    """Return the app setting that a field of ``Settings`` is read from."""
    return PLATFORM_SETTINGS.get(field, f"GRANTLINE_{field.upper()}")


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError that names every missing or malformed one, and never shows a value."""
    values = {name: environment[setting_name(name)] for name in Settings.model_fields if environment.get(setting_name(name))}
    account = environment.get("AzureWebJobsStorage__accountName")
    if account:
        values.setdefault("storage_queue_url", f"https://{account}.queue.core.windows.net")
        values.setdefault("storage_table_url", f"https://{account}.table.core.windows.net")
    faults = [fault for check in CHECKS if (fault := check(values))]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults = [*map(_fault, error.errors(include_input=False, include_url=False)), *faults]
    if faults:
        raise SettingsError("\n".join(faults)) from None
    return settings


def _storage(values: Mapping[str, str]) -> str:
    is_there = values.get("storage_connection") or (values.get("storage_queue_url") and values.get("storage_table_url"))
    return "" if is_there else "AzureWebJobsStorage: is missing; a connection string, or AzureWebJobsStorage__accountName"


def _egress(values: Mapping[str, str]) -> str:
    unnamed = {part: values.get(f"scanner_{part}", "") for part in PARTS}
    found = overlap(unnamed, values.get("scanner_regions", "{}"))
    return f"{setting_name('scanner_outbound_egress')}: {found}" if found else ""


def _credentials(values: Mapping[str, str]) -> str:
    applications = [application for application in APPLICATIONS if f"{application}_client_id" in values]
    lacking = [name for name in applications if not {f"{name}_certificate", f"{name}_client_secret"} & values.keys()]
    if not lacking or "managed_identity_client_id" in values:
        return ""
    names = ", ".join(setting_name(f"{name}_certificate") for name in lacking)
    return f"GRANTLINE_MANAGED_IDENTITY_CLIENT_ID: is needed, or a certificate or secret for each application (missing: {names})"


def _alone(values: Mapping[str, str]) -> str:
    """A credential of an application that is not there is a slip of the pen."""
    optional = [name for name in APPLICATIONS if not Settings.model_fields[f"{name}_client_id"].is_required()]
    alone = [
        f"{setting_name(f'{name}_client_id')}: is missing; {setting_name(f'{name}_{credential}')} is set"
        for name in optional
        for credential in CREDENTIALS
        if f"{name}_{credential}" in values and f"{name}_client_id" not in values
    ]
    return "\n".join(alone)


def _development(values: Mapping[str, str]) -> str:
    if "development_identity" in values and ("site_name" in values or "sign_in_on" in values):
        return "GRANTLINE_DEVELOPMENT_IDENTITY: must not be set where App Service runs the app"
    return ""


CHECKS: tuple[Callable[[Mapping[str, str]], str], ...] = (_storage, _egress, _credentials, _alone, _development)
"""What the settings must be together; each returns its fault as a line, or nothing."""


def _fault(entry: Mapping[str, object]) -> str:
    """Write one fault as a line: the app setting's name and what is wrong with it."""
    location = entry["loc"]
    name = setting_name(str(location[0])) if isinstance(location, tuple) and location else "settings"
    text = "is missing" if entry["type"] == "missing" else str(entry["msg"]).removeprefix("Value error, ")
    return f"{name}: {text}"
