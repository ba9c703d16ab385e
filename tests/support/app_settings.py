"""App settings that are complete and made up."""

from base64 import urlsafe_b64encode

_GUID = "00000000-0000-4000-8000-00000000000{}"

APP_SETTINGS: dict[str, str] = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "GRANTLINE_PUBLIC_URL": "https://console.example.com",
    **{
        f"GRANTLINE_{name}_CLIENT_{key}": value
        for number, name in enumerate(("MAIL_FLOW", "DIRECTORY", "ROLE_HELPER"))
        for key, value in (("ID", _GUID.format(number)), ("SECRET", f"made up {name}"))
    },
    "GRANTLINE_SEALING_KEY": urlsafe_b64encode(bytes(32)).decode(),
    "GRANTLINE_SCANNER_INBOUND_HOST": "inbound.scanner.example.net",
    "GRANTLINE_SCANNER_OUTBOUND_HOST": "outbound.scanner.example.net",
    "GRANTLINE_SCANNER_INBOUND_EGRESS": "192.0.2.0/24",
    "GRANTLINE_SCANNER_OUTBOUND_EGRESS": "198.51.100.0/24",
    "GRANTLINE_SCANNER_CERTIFICATE_ZONE": "relay.scanner.example.net",
}
"""What a deployment sets at the least; hosts and addresses are those kept for documentation (RFC 2606, RFC 5737)."""
