"""Random mail traces from a seed: tenants, connectors, rules, scanners and a message, without an outcome.

Most tenants are wired as Grantline wires them, often with one thing broken; the rest is anybody's. The same seed gives the same
document on every machine.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from shared.mailflow.route.model import SWITCHES

Document = dict[str, Any]
HOSTS = ("inbound.scanner.example", "outbound.scanner.example")
INBOUND, OUTBOUND = "192.0.2.0/25", "192.0.2.128/25"
ZONE = "relay.scanner.example"
ELSEWHERE = ("203.0.113.7", "203.0.113.99", "198.51.100.7")
OUTSIDE = ("eve@sender.example", "sam@mail.sender.example", "ceo@contoso.com", "ada@contoso.com", "ada@shop.contoso.com")
GONE = "gone@contoso.com"
SECRETS = {"contoso": "c0ffee", "fabrikam": "fab1ed"}
WORDS = ("invoice", "secret", "hello world")
KINDS = (
    *("normal",) * 8,
    *("auto_reply", "auto_forward", "read_receipt", "bounce", "calendar", "encrypted", "signed", "rights_protected"),
)


def document(seed: int) -> Document:
    """Return one trace."""
    random = Random(seed)  # noqa: S311 - the same cases on every machine
    ids = ["contoso", "fabrikam"] if random.random() < 0.5 else ["contoso"]
    wired = {each: random.random() < 0.7 for each in ids}
    tenants = [_tenant(random, each, is_wired=wired[each]) for each in ids]
    return {
        "version": 1,
        "id": f"random-{seed}",
        "tenants": tenants,
        "scanners": [_scanner(random, each) for each in ids if wired[each] or random.random() < 0.3],
        "message": _message(random, ids),
        "uncertain": {name: not usual for name, usual in SWITCHES.items() if random.random() < 0.2},
    }


def _some(random: Random, items: tuple[Any, ...], most: int = 2) -> list[Any]:
    return random.sample(items, random.randint(1, min(most, len(items))))


def _scanner(random: Random, tenant: str) -> Document:
    return {
        "tenant": tenant,
        "inbound_host": HOSTS[0],
        "outbound_host": HOSTS[1],
        "inbound_egress": [INBOUND],
        "outbound_egress": [OUTBOUND],
        "inbound_certificate": HOSTS[0],
        "outbound_certificate": f"{tenant}.{ZONE}",
        "verdict": random.choice(("none", "clean", "junk")),
        "verdict_headers": {"clean": "X-Grantline-Clean", "junk": "X-Grantline-Junk"},
        "secret": SECRETS[tenant],
        "modifies": random.random() < 0.3,
        "arc_domain": "scanner.example" if random.random() < 0.3 else "",
    }


def _tenant(random: Random, name: str, *, is_wired: bool) -> Document:
    domain = f"{name}.com"
    domains = [
        {"DomainName": domain, "DomainType": "Authoritative", "Default": True, "InitialDomain": False},
        {"DomainName": f"{name}.onmicrosoft.com", "DomainType": "Authoritative", "Default": False, "InitialDomain": True},
    ]
    if random.random() < 0.5:
        kind = random.choice(("Authoritative", "InternalRelay"))
        domains.append({"DomainName": f"shop.{domain}", "DomainType": kind, "Default": False, "InitialDomain": False})
    if random.random() < 0.2:
        domains.append({"DomainName": f"{name}.{ZONE}", "DomainType": "Authoritative", "Default": False, "InitialDomain": False})
    names = [str(each["DomainName"]) for each in domains]
    rules = [_rule(random, number, name) for number in range(random.randint(0, 4))]
    return {
        "id": name,
        "accepted_domains": domains,
        "recipients": _recipients(random, domain, f"ada@shop.{domain}" if f"shop.{domain}" in names else f"ad@{domain}"),
        "inbound_connectors": [*(_returns(random, name) if is_wired else ()), *_foreign_inbound(random, name)],
        "outbound_connectors": [*(_ways() if is_wired else ()), *_foreign_outbound(random)],
        "transport_rules": _merged(random, _own_rules(random, name, names) if is_wired else [], rules),
        "policies": _policies(random),
        "organization": {"RejectDirectSend": random.random() < 0.2},
    }


def _recipients(random: Random, domain: str, alias: str) -> list[Document]:
    return [
        {"address": f"ada@{domain}", "aliases": [f"a@{domain}", alias], "kind": "mailbox"},
        {"address": f"bob@{domain}", "kind": "shared", "auto_replies": random.random() < 0.2},
        {"address": f"fay@{domain}", "kind": "mailbox", "forwards_to": random.choice(("eve@sender.example", f"ada@{domain}"))},
        {"address": "carl@receiver.example", "kind": "contact", "external_address": "carl@receiver.example"},
        {"address": f"folder@{domain}", "kind": "public_folder"},
        {"address": f"olga@{domain}", "kind": "on_premises"},
        {"address": f"team@{domain}", "kind": "group", "members": [f"ada@{domain}", "carl@receiver.example", f"inner@{domain}"]},
        {"address": f"inner@{domain}", "kind": "group", "members": [f"bob@{domain}"]},
    ]


def _returns(random: Random, name: str) -> list[Document]:
    """The connectors of Grantline, sometimes broken."""
    inbound: Document = {"Name": "In return", "ConnectorType": "Partner", "SenderDomains": ["*"], "SenderIPAddresses": [INBOUND]}
    outbound: Document = {
        "Name": "Out return",
        "ConnectorType": "OnPremises",
        "SenderDomains": ["*"],
        "TlsSenderCertificateName": f"{name}.{ZONE}",
    }
    broken = random.random()
    if broken < 0.1:
        inbound["RestrictDomainsToIPAddresses"] = True
    elif broken < 0.2:
        outbound["TlsSenderCertificateName"] = f"*.{ZONE}"
    elif broken < 0.3:
        outbound["SenderIPAddresses"] = random.choice(([INBOUND], [OUTBOUND], [INBOUND, OUTBOUND]))
    elif broken < 0.35:
        outbound["ConnectorType"] = "Partner"
    elif broken < 0.4:
        outbound["Enabled"] = False
    return [inbound, outbound]


def _ways() -> list[Document]:
    return [
        {
            "Name": f"To {host}",
            "ConnectorType": "Partner",
            "SmartHosts": [host],
            "IsTransportRuleScoped": True,
            "UseMXRecord": False,
        }
        for host in HOSTS
    ]


def _own_rules(random: Random, name: str, domains: list[str]) -> list[Document]:
    """The rules of Grantline, sometimes broken."""
    scoped = domains if random.random() < 0.7 else domains[:1]
    inbound: Document = {
        "Name": "Inbound",
        "RecipientDomainIs": scoped,
        "HeaderMatchesMessageHeader": "X-MS-Exchange-Organization-AuthAs",
        "HeaderMatchesPatterns": ["Anonymous"],
        "ExceptIfSenderIpRanges": [INBOUND],
        "RouteMessageOutboundConnector": f"To {HOSTS[0]}",
    }
    outbound: Document = {
        "Name": "Outbound",
        "SenderDomainIs": scoped,
        "SenderAddressLocation": "Envelope",
        "SentToScope": "NotInOrganization",
        "ExceptIfSenderIpRanges": [OUTBOUND],
        "RouteMessageOutboundConnector": f"To {HOSTS[1]}",
    }
    if random.random() < 0.3:
        del inbound["RecipientDomainIs"], outbound["SenderDomainIs"]
        inbound["SentToMemberOf"] = outbound["FromMemberOf"] = [f"team@{name}.com"]
    for rule in (inbound, outbound):
        rule |= {"StopRuleProcessing": True, "RuleErrorAction": "Defer"}
        _break(random, rule)
    return [inbound, outbound, _verdict_rule(random, name, "Clean", -1), _verdict_rule(random, name, "Junk", 6)]


def _verdict_rule(random: Random, name: str, verdict: str, level: int) -> Document:
    header = f"X-Grantline-{verdict}"
    rule: Document = {
        "Name": verdict,
        "SenderIpRanges": [INBOUND],
        "HeaderContainsMessageHeader": header,
        "HeaderContainsWords": [SECRETS[name]],
        "SetSCL": level,
        "RemoveHeader": header,
    }
    if random.random() < 0.1:
        del rule["SenderIpRanges"]
    return rule


def _break(random: Random, rule: Document) -> None:
    broken = random.random()
    if broken < 0.06:
        rule["State"] = "Disabled"
    elif broken < 0.12:
        rule["RouteMessageOutboundConnector"] = "Gone"
        rule["RuleErrorAction"] = random.choice(("Defer", "Ignore"))
    elif broken < 0.18:
        del rule["ExceptIfSenderIpRanges"]
        rule |= {"ExceptIfHeaderContainsMessageHeader": "X-Loop", "ExceptIfHeaderContainsWords": ["1"]}
    elif broken < 0.24:
        rule["StopRuleProcessing"] = False
    elif broken < 0.27:
        rule["Mode"] = "Audit"


def _merged(random: Random, own: list[Document], others: list[Document]) -> list[Document]:
    """Own rules first, or anywhere."""
    if random.random() < 0.6:
        return [*own, *others]
    rules = [*own, *others]
    random.shuffle(rules)
    return rules


def _foreign_inbound(random: Random, name: str) -> list[Document]:
    found: list[Document] = []
    if random.random() < 0.15:
        flags = random.choice(({"RestrictDomainsToIPAddresses": True}, {"RestrictDomainsToCertificate": True}))
        found.append(
            {
                "Name": "Partner",
                "ConnectorType": "Partner",
                "SenderDomains": random.choice((["*"], ["sender.example"], ["*.sender.example"])),
                "SenderIPAddresses": ["203.0.113.0/26"],
                "TlsSenderCertificateName": "mail.sender.example",
                **flags,
            }
        )
    if random.random() < 0.15:
        found.append(
            {
                "Name": "From our servers",
                "ConnectorType": "OnPremises",
                "SenderDomains": ["*"],
                **random.choice(
                    (
                        {"SenderIPAddresses": ["198.51.100.0/24"]},
                        {"TlsSenderCertificateName": f"mail.{name}.com"},
                        {"SenderIPAddresses": ["198.51.100.0/24"], "TreatMessagesAsInternal": True},
                    )
                ),
            }
        )
    return found


def _foreign_outbound(random: Random) -> list[Document]:
    found: list[Document] = []
    if random.random() < 0.15:
        found.append(
            {"Name": "Vendor", "ConnectorType": "Partner", "SmartHosts": ["gateway.example"], "IsTransportRuleScoped": True}
        )
    if random.random() < 0.1:
        found.append(
            {
                "Name": "By domain",
                "ConnectorType": "Partner",
                "RecipientDomains": random.choice((["receiver.example"], ["*"], ["*.sender.example"])),
                "SmartHosts": ["gateway.example"],
            }
        )
    return found


def _policies(random: Random) -> Document:
    content: Document = {"Name": "Default", "IsDefault": True, "PhishSpamAction": "Quarantine"}
    phish: Document = {"Name": "Default", "IsDefault": True}
    spoof = {"SpoofedUser": "*", "SendingInfrastructure": "192.0.2.0/24", "SpoofType": "External", "Action": "Allow"}
    if random.random() < 0.2:
        content |= {"MarkAsSpamSpfRecordHardFail": "On"}
    if random.random() < 0.2:
        content |= {"SpamAction": "Quarantine", "PhishSpamAction": "MoveToJmf"}
    if random.random() < 0.2:
        phish |= random.choice(({"HonorDmarcPolicy": False}, {"DmarcRejectAction": "Quarantine"}))
    return {
        "HostedContentFilterPolicy": [content],
        "AntiPhishPolicy": [phish],
        "HostedConnectionFilterPolicy": [{"Name": "Default", "IPAllowList": [INBOUND] if random.random() < 0.1 else []}],
        "ArcConfig": [{"ArcTrustedSealers": "scanner.example" if random.random() < 0.3 else ""}],
        "TenantAllowBlockListSpoofItems": [spoof] if random.random() < 0.1 else [],
    }


def _rule(random: Random, number: int, name: str) -> Document:
    """A rule of somebody else: up to two conditions, one exception, one or two actions."""
    rule: Document = {"Name": f"Rule {number}"}
    for _ in range(random.randint(0, 2)):
        rule |= random.choice(_CONDITIONS)(random, name)
    if random.random() < 0.3:
        exception = random.choice(_CONDITIONS)(random, name)
        if "SenderAddressLocation" not in exception:
            rule |= {f"ExceptIf{key}": value for key, value in exception.items()}
    rule |= random.choice(_ACTIONS)(random, name)
    if random.random() < 0.15:
        rule["StopRuleProcessing"] = True
    if random.random() < 0.1:
        rule["Mode"] = random.choice(("Audit", "AuditAndNotify"))
    if random.random() < 0.05:
        rule["State"] = "Disabled"
    return rule


def _people(random: Random, name: str) -> list[str]:
    return _some(random, (f"ada@{name}.com", f"bob@{name}.com", "eve@sender.example", "carl@receiver.example"))


def _groups(random: Random, name: str) -> list[str]:
    return [random.choice((f"team@{name}.com", f"inner@{name}.com", GONE))]


def _domains(random: Random, name: str) -> list[str]:
    return _some(random, (f"{name}.com", f"shop.{name}.com", "sender.example", "receiver.example"))


Part = Callable[[Random, str], Mapping[str, Any]]
_LOCATIONS = ("Header", "Envelope", "HeaderOrEnvelope")
_CONDITIONS: tuple[Part, ...] = (
    lambda random, name: {"From": _people(random, name)},
    lambda random, _: {"FromScope": random.choice(("InOrganization", "NotInOrganization"))},
    lambda random, name: {"FromMemberOf": _groups(random, name)},
    lambda random, name: {"SenderDomainIs": _domains(random, name)},
    lambda random, name: {"SenderDomainIs": _domains(random, name), "SenderAddressLocation": random.choice(_LOCATIONS)},
    lambda random, _: {"SenderIpRanges": [random.choice((INBOUND, "203.0.113.0-203.0.113.50", "198.51.100.7"))]},
    lambda random, name: {"SentTo": _people(random, name)},
    lambda random, _: {"SentToScope": random.choice(("InOrganization", "NotInOrganization"))},
    lambda random, name: {"SentToMemberOf": _groups(random, name)},
    lambda random, name: {"RecipientDomainIs": _domains(random, name)},
    lambda random, _: {"RecipientAddressContainsWords": [random.choice(("ada", "example", "shop"))]},
    lambda random, name: {"AnyOfToHeader": _people(random, name)},
    lambda random, _: {"AnyOfRecipientAddressContainsWords": [random.choice(("ada", "carl", "receiver"))]},
    lambda random, _: {"HeaderContainsMessageHeader": "X-Loop", "HeaderContainsWords": [random.choice(("1", "invoice"))]},
    lambda random, _: {"HeaderMatchesMessageHeader": "X-Tag", "HeaderMatchesPatterns": [random.choice(("^a", r"\d+"))]},
    lambda random, _: {"MessageTypeMatches": random.choice(("OOF", "AutoForward", "Encrypted", "Calendaring", "Signed"))},
    lambda random, _: {"SubjectContainsWords": [random.choice(WORDS)]},
    lambda random, _: {"SubjectOrBodyContainsWords": [random.choice(WORDS)]},
    lambda random, _: {"MessageSizeOver": random.choice(("1 MB (1,048,576 bytes)", "20 KB (20,480 bytes)"))},
)
_ACTIONS: tuple[Part, ...] = (
    lambda random, _: {"RouteMessageOutboundConnector": random.choice(("Vendor", f"To {HOSTS[0]}", f"To {HOSTS[1]}"))},
    lambda random, _: random.choice(({"RejectMessageReasonText": "no"}, {"RejectMessageEnhancedStatusCode": "5.7.900"})),
    lambda _, __: {"DeleteMessage": True},
    lambda _, __: {"Quarantine": True},
    lambda random, name: {"RedirectMessageTo": [random.choice(_people(random, name))]},
    lambda random, name: {"AddToRecipients": [random.choice(_people(random, name))]},
    lambda random, name: {random.choice(("CopyTo", "BlindCopyTo")): [random.choice(_people(random, name))]},
    lambda _, name: {"ModerateMessageByUser": [f"bob@{name}.com"]},
    lambda _, __: {"ApplyHtmlDisclaimerText": "Disclaimer"},
    lambda _, __: {"PrependSubject": "invoice: "},
    lambda random, _: {"SetHeaderName": random.choice(("X-Loop", "X-Tag")), "SetHeaderValue": random.choice(("1", "abc"))},
    lambda random, _: {"RemoveHeader": random.choice(("X-Loop", "X-Tag", "X-Grantline-Clean"))},
    lambda random, _: {"SetSCL": random.choice((-1, 0, 5, 6, 9))},
)


def _message(random: Random, ids: list[str]) -> Document:
    born = random.choice(("", "", *ids))
    home = random.choice(ids)
    people = [f"{who}@{home}.com" for who in ("ada", "a", "bob", "fay", "folder", "olga", "team", "nobody")]
    recipients = _some(random, (*people, f"x@shop.{home}.com", "carl@receiver.example", "eve@sender.example"), 3)
    base: Document = {
        "from_tenant": born,
        "recipients": recipients,
        "headers": {name: text for name, text in _HEADERS if random.random() < 0.1},
        "kind": random.choice(KINDS),
        "subject": random.choice(("Hello", "An invoice", "hello world again")),
        "body": random.choice(("", "secret things", "secretly")),
        "size_kb": random.choice((10, 50, 5000)),
        "dmarc_policy": random.choice(("none", "none", "quarantine", "reject")),
        "verdict": random.choice(("none",) * 8 + ("spam", "phish", "high_confidence_phish", "malware")),
    }
    return {**base, **(_born(random, born) if born else _from_outside(random))}


_HEADERS = (
    ("X-Loop", "1"),
    ("X-Tag", "abc"),
    ("X-Grantline-Clean", "c0ffee"),
    ("X-Grantline-Junk", "guess"),
    ("X-MS-Exchange-Transport-Rules-Loop", "1"),
    ("X-MS-Exchange-Organization-AuthAs", "Internal"),
)


def _born(random: Random, tenant: str) -> Document:
    sender = f"{random.choice(('ada', 'bob'))}@{tenant}.com"
    envelope = random.choice((sender, sender, sender, "", "eve@sender.example"))
    header = sender if envelope != "eve@sender.example" else envelope
    verdicts = {"spf": {sender: "pass", "": "none"}.get(envelope, "fail"), "dkim": "pass"}
    return {"mail_from": envelope, "header_from": header, "source_ip": "", "certificate": "", "authenticated": True, **verdicts}


def _from_outside(random: Random) -> Document:
    envelope = random.choice((*OUTSIDE, ""))
    return {
        "mail_from": envelope,
        "header_from": envelope if envelope and random.random() < 0.8 else random.choice(OUTSIDE),
        "source_ip": random.choice((*ELSEWHERE, *ELSEWHERE, "192.0.2.5", "192.0.2.130")),
        "certificate": random.choice(("", "", "mail.sender.example", "mail.contoso.com", f"contoso.{ZONE}")),
        "authenticated": False,
        "spf": random.choice(("pass", "fail", "none")),
        "dkim": random.choice(("pass", "fail", "none")),
    }
