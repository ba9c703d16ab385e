"""A problem: what went wrong, in words for the person who can put it right."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Actor(StrEnum):
    """Who acts, or who can put a problem right."""

    TENANT_ADMINISTRATOR = "tenant_administrator"
    OPERATOR = "operator"
    GRANTLINE = "grantline"


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong with a step: a code, plain words, who can fix it, how, and what Microsoft said.

    ``raw`` is Microsoft's own error text, ``correlation_id`` the id that Microsoft's support asks for; both may be
    empty. Neither ever holds a token or a secret.
    """

    code: str
    cause: str
    fix: str
    who: Actor = Actor.OPERATOR
    raw: str = ""
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One entry of the catalogue: everything about a problem but the case at hand."""

    cause: str
    fix: str
    who: Actor


@dataclass
class GrantlineError(Exception):
    """The root of every error that Grantline raises itself.

    The tree::

        GrantlineError
        ├── SettingsError            a setting is missing or malformed (shared/settings.py)
        ├── MessageError             a queue message can't be read (shared/messages.py)
        ├── ConflictError            a row changed since it was read, or the answer of a save was lost (shared/ports.py)
        ├── RedirectError            a browser redirect that must not be believed (shared/consent)
        ├── TransientError           Microsoft or the network, for now: try again (shared/ports.py)
        ├── NotYetError              Microsoft has not spread a consent or a role yet (shared/ports.py)
        ├── NotFoundError            what a request names does not exist (shared/ports.py)
        ├── StorageError             Azure Storage refuses: a defect or a wrong setting (shared/storage)
        └── RefusedError             Microsoft refuses: a person must act; carries a problem (shared/ports.py)
    """

    message: str = ""

    def __str__(self) -> str:
        """Return the message for people."""
        return self.message


@dataclass
class ProblemError(GrantlineError):
    """An error that already knows the problem that a person is to see.

    ``more`` are JSON values about the case at hand for programs: members that extend RFC 9457's problem details.
    """

    problem: Problem = field(default_factory=lambda: problem("unexpected"))
    more: dict[str, Any] = field(default_factory=dict)


CATALOGUE: dict[str, ProblemKind] = {
    "unexpected": ProblemKind(
        "Grantline met an error that it does not know.",
        "Retry the step. If it happens again, send the raw error and its correlation id to Grantline's operators.",
        Actor.OPERATOR,
    ),
    "no_outcome": ProblemKind(
        "The step was begun several times and never came to an outcome.",
        "Look at the function logs for this grant, then retry the step.",
        Actor.OPERATOR,
    ),
    "person_never_came": ProblemKind(
        "Nobody did this step in time.",
        "Send the administrator the link of this page again, or start the grant anew.",
        Actor.OPERATOR,
    ),
    "consent_denied": ProblemKind(
        "The administrator did not accept the permissions at Microsoft.",
        "Open the step again and press Accept, or ask another Global Administrator to do so.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "consent_without_effect": ProblemKind(
        "The administrator came back from Microsoft, but the application still has not got its permissions.",
        "Open the step again with a Global Administrator and press Accept.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "not_administrator": ProblemKind(
        "The account that signed in is not shown to be an administrator who may give this consent. "
        "A role that is only eligible counts once it is activated.",
        "Activate the Global Administrator or Privileged Role Administrator role, or sign in with an account that has it.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "tenant_differs": ProblemKind(
        "The account that signed in belongs to another tenant than the one this grant is for.",
        "Sign out at Microsoft and sign in with an administrator of the grant's tenant.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "tenant_taken": ProblemKind(
        "This Microsoft 365 tenant is already connected to another account.",
        "An administrator of the tenant can take it from the other account by signing in once more for that.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "personal_account": ProblemKind(
        "A personal Microsoft account signed in; it has no Exchange Online.",
        "Sign in with the work account of an administrator.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "sign_in_again": ProblemKind(
        "The administrator's sign-in for this step is no longer valid, or did not allow what the step needs.",
        "Sign in once more.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_refused": ProblemKind(
        "Microsoft refused to assign the Exchange Administrator role to the application.",
        "Sign in again with a Privileged Role Administrator or Global Administrator.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_without_effect": ProblemKind(
        "The role is assigned, but Exchange Online still does not let the application in.",
        "Check in Entra that the application holds an active Exchange Administrator assignment, then retry.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_not_assigned": ProblemKind(
        "Nobody has assigned the Exchange Administrator role to the application, or Exchange Online has not noticed it.",
        "Check in the Microsoft Entra admin center that the application holds an active assignment, then check again here.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "no_exchange": ProblemKind(
        "The tenant has no Exchange Online, or its subscription is disabled.",
        "Assign an Exchange Online plan in the Microsoft 365 admin centre, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "setting_blocks": ProblemKind(
        "A security setting of the tenant would make mail fail after scanning.",
        "Change the setting as shown, then retry the step.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "finding_unacknowledged": ProblemKind(
        "The tenant has something that works together with the scanner only under conditions.",
        "Read what was found, do what it says, and acknowledge it on the grant's page.",
        Actor.OPERATOR,
    ),
    "foreign_object": ProblemKind(
        "The tenant has an object of somebody else's with the name of one that Grantline must make; it is not touched.",
        "Rename or remove the object in the Exchange admin centre, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "domain_not_accepted": ProblemKind(
        "A chosen domain is not an accepted domain of the tenant.",
        "Add and verify the domain in the Microsoft 365 admin centre, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "person_not_found": ProblemKind(
        "Exchange Online has nobody with the name of a chosen person.",
        "Give the person a mailbox or this address in the Microsoft 365 admin center, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "exchange_refused": ProblemKind(
        "Exchange Online refused a change.",
        "Read Microsoft's message below, put the cause right, then retry the step.",
        Actor.OPERATOR,
    ),
    "graph_refused": ProblemKind(
        "Microsoft Graph refused a read that the application needs.",
        "Give the consent of this step again; the permissions are listed on its page.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "kept_failing": ProblemKind(
        "Microsoft kept answering with errors.",
        "Look at Microsoft's service health, then retry the step.",
        Actor.OPERATOR,
    ),
    "fact_missing": ProblemKind(
        "Something that Grantline set up was not found as it was left, even after doing it again.",
        "Somebody or something in the tenant changes it back: find out who, then retry the step.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "application_disabled": ProblemKind(
        "The application is disabled in the tenant.",
        "Enable its enterprise application in Entra, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "conditional_access": ProblemKind(
        "A Conditional Access policy of the tenant blocks the application.",
        "Exclude the application's service principal from the policy named in the error, then retry.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "our_registration": ProblemKind(
        "Microsoft refuses the operator's own application registration or its credential.",
        "Check the registration's client id, credential and permissions in the operator's tenant, then retry.",
        Actor.OPERATOR,
    ),
    "sign_in_not_proved": ProblemKind(
        "Grantline could not prove that this answer comes from Microsoft for the sign-in that was begun here.",
        "Nothing was stored. Open the step on the grant's page and sign in again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "sign_in_failed": ProblemKind(
        "The sign-in at Microsoft was cancelled or did not succeed.",
        "Open the step on the grant's page and sign in again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "link_unknown": ProblemKind(
        "This answer belongs to no sign-in that Grantline began.",
        "Nothing was changed. Begin again on the grant's page; if somebody sent you this link, don't trust it.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "link_expired": ProblemKind(
        "The sign-in was begun too long ago.",
        "Nothing was changed. Open the step on the grant's page and sign in again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "other_browser": ProblemKind(
        "The sign-in was begun in another browser than this one.",
        "Nothing was changed. Go on in the browser in which the step was opened; if somebody sent you this link, don't trust it.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "onboarding_unknown": ProblemKind(
        "This is no onboarding link that Grantline gave, or a part of it is missing.",
        "Open the whole link of the message that you were sent, or ask its sender for another one.",
        Actor.OPERATOR,
    ),
    "onboarding_expired": ProblemKind(
        "This onboarding link has expired.",
        "Ask its sender for a new one.",
        Actor.OPERATOR,
    ),
    "onboarding_replaced": ProblemKind(
        "This onboarding link does not open any more: a newer one was created for the same grant.",
        "Open the newest link that you were sent, or ask its sender for another one.",
        Actor.OPERATOR,
    ),
    "onboarding_used": ProblemKind(
        "This onboarding link was used in another browser; it works in one browser only.",
        "Go on in the browser in which it was used first. If that was not you, tell its sender at once, and ask for a new one.",
        Actor.OPERATOR,
    ),
    "account_has_grant": ProblemKind(
        "The account already has a grant of this service.",
        "Open the grant that is there.",
        Actor.OPERATOR,
    ),
    "form_unreadable": ProblemKind(
        "The form can't be taken as it is.",
        "Nothing was changed. Go back, correct what is named above, and send it again.",
        Actor.OPERATOR,
    ),
    "form_expired": ProblemKind(
        "This form was not sent by a page that the console has given to this browser, or the browser was closed meanwhile.",
        "Nothing was changed. Open the page again and send the form once more.",
        Actor.OPERATOR,
    ),
    "request_unreadable": ProblemKind(
        "The request can't be taken as it is.",
        "Nothing was changed. Correct what the errors name, and send it again.",
        Actor.OPERATOR,
    ),
    "body_too_large": ProblemKind(
        "The body is larger than any that can be meant.",
        "Nothing was changed. Send less than 64 KiB.",
        Actor.OPERATOR,
    ),
    "command_reused": ProblemKind(
        "This command id, or idempotency key, was used for another command before.",
        "What was done then stands, and nothing else was changed. Send the command with an id of its own.",
        Actor.OPERATOR,
    ),
    "application_not_offered": ProblemKind(
        "This installation has no application of its own for this permission.",
        "Ask the installation's operator: with a registration and its client id in the settings the step is offered.",
        Actor.OPERATOR,
    ),
    "unavailable": ProblemKind(
        "The console can't reach what it needs at the moment: its storage, or Microsoft.",
        "Try again in a minute; what is under way goes on by itself.",
        Actor.OPERATOR,
    ),
    "grant_unknown": ProblemKind(
        "There is no such grant.",
        "Check the address, or begin at the dashboard.",
        Actor.OPERATOR,
    ),
    "not_allowed": ProblemKind(
        "This page is for signed-in operators of the console.",
        "Sign in to the console with an account that has a role there. If an onboarding link brought you here, it has ended: "
        "ask its sender for a new one.",
        Actor.OPERATOR,
    ),
    "sign_in_needed": ProblemKind(
        "This is for people and programs that are signed in to the console.",
        "Send an access token for the console's registration in Microsoft Entra ID, of an account that has a role there.",
        Actor.OPERATOR,
    ),
    "tenant_unknown": ProblemKind(
        "Microsoft does not know this tenant.",
        "Check the tenant's domain or id, and that it is in the cloud that this installation serves.",
        Actor.OPERATOR,
    ),
    "tenant_settled": ProblemKind(
        "This grant is for another tenant already.",
        "Check the tenant's domain or id. Another tenant needs a grant of its own, for another account.",
        Actor.OPERATOR,
    ),
    "not_json": ProblemKind(
        "The API takes JSON, and this request is of another kind.",
        "Send the content as JSON, with the header Content-Type: application/json.",
        Actor.OPERATOR,
    ),
    "tenant_blocked": ProblemKind(
        "Microsoft has blocked or deleted this tenant.",
        "Open a support request at Microsoft for the tenant; retry when it is in service again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "other_cloud": ProblemKind(
        "The tenant is in another Microsoft cloud than this installation serves.",
        "Use an installation of Grantline for that cloud.",
        Actor.OPERATOR,
    ),
    "assignment_required": ProblemKind(
        "The tenant lets only assigned users sign in to the application.",
        "Assign the administrator to its enterprise application in Entra, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "network_restricted": ProblemKind(
        "The network of this browser does not let people sign in to this tenant.",
        "Sign in from another network, or ask the network's administrator to allow the tenant.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "page_expired": ProblemKind(
        "Microsoft no longer knows where a list, or what has changed since the last sync, was to go on.",
        "Retry the step: everything is read again from its beginning.",
        Actor.OPERATOR,
    ),
    "scope_group_unknown": ProblemKind(
        "Microsoft Entra has no group with the address or id that the scope names: it was deleted, or it is a dynamic "
        "distribution group, which only Exchange Online knows.",
        "Name a group by its primary e-mail address or its object id in the grant's scope, then retry the step.",
        Actor.OPERATOR,
    ),
    "scope_group_hidden": ProblemKind(
        "The group that the scope names hides its members, and Grantline does not ask for the permission to see them.",
        "Name another group or the users themselves in the grant's scope, or let it show its members; then retry the step.",
        Actor.OPERATOR,
    ),
    "cmdlet_not_offered": ProblemKind(
        "Exchange Online does not offer the application a cmdlet that this step needs.",
        "Check that the application's role is active and that the tenant has the licence for this feature, then retry.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "organization_not_customized": ProblemKind(
        "Exchange Online refuses changes until the organization has been enabled for customization.",
        "Run Enable-OrganizationCustomization once in Exchange Online PowerShell, then retry the step.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "connectors_restricted": ProblemKind(
        "Microsoft lets this tenant make no inbound connectors: its subscription is one for developers or a trial.",
        "Use a tenant with a paid plan of Exchange Online, or ask Microsoft's support to lift the restriction; then retry.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "unexpected_host": ProblemKind(
        "Microsoft's answer led to a host that is not among the configured ones; nothing was sent there.",
        "Check the cloud and the addresses in the settings, then retry the step.",
        Actor.OPERATOR,
    ),
    "administrator_not_proved": ProblemKind(
        "Microsoft did not say which directory roles the account that signed in has, so it can't be told whether it may consent.",
        "Sign in with an account that has few roles and groups, such as a dedicated Global Administrator. If every "
        "account ends here, the operator's registration does not ask for directory roles.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_may_not_consent": ProblemKind(
        "The account that signed in is an Application Administrator or Cloud Application Administrator: it may not give "
        "this consent, nor assign directory roles.",
        "Sign in with a Global Administrator or Privileged Role Administrator. Where the role is assigned by hand, this "
        "account may give the mail-flow consent alone.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "guest_account": ProblemKind(
        "The account that signed in is a guest of this tenant without an administrator role in it.",
        "Sign in with an administrator of the tenant itself, or have the guest given the role in the tenant first.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "consent_requested": ProblemKind(
        "The tenant lets nobody consent without an approval: a request was sent to its administrators.",
        "Approve the request in the Microsoft Entra admin center under Admin consent requests, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "consent_missing": ProblemKind(
        "Permissions that the application needs were taken away in the tenant.",
        "Open the step again and press Accept. Microsoft's page always shows the whole set; what is missing is marked here.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_consent_needed": ProblemKind(
        "The application that assigns the role has not got its permission in this tenant.",
        "Sign in at Microsoft and accept the permission, or choose another way to the role.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_needs_mfa": ProblemKind(
        "The tenant lets a role be assigned only after a sign-in with multifactor authentication.",
        "Sign in once more and confirm with the second factor.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_by_hand": ProblemKind(
        "The tenant's policy for this role can't be met by a sign-in here: it asks for what only the Microsoft Entra "
        "admin center can show.",
        "Assign the role by hand as described below; Grantline notices it.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_needs_ticket": ProblemKind(
        "The tenant's policy for this role wants a ticket number with each assignment.",
        "Enter the ticket's number and system below, then go on.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_request_pending": ProblemKind(
        "A request for this role is open in the tenant already.",
        "Approve or cancel it in Privileged Identity Management in the Microsoft Entra admin center, then check again here.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "role_ends_soon": ProblemKind(
        "The application's role assignment ends soon. When it has ended, Grantline can't manage the mail flow any more; "
        "mail goes on as it is.",
        "Sign in once to extend it, or extend it in Privileged Identity Management in the Microsoft Entra admin center.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "activity_disabled": ProblemKind(
        "Reading activity data has been switched off for this tenant by an administrator of it or of Microsoft's service.",
        "Have the subscription enabled again in the tenant, and auditing with it where that is off; then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "audit_off": ProblemKind(
        "The tenant does not record its audit log, so there is no activity data to read.",
        "Turn on auditing in the Microsoft Purview portal; it takes up to an hour. Then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "activity_refused": ProblemKind(
        "The Office 365 Management Activity API refused the subscription.",
        "Read Microsoft's message below, put the cause right, then open the step again.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "credential_expired": ProblemKind(
        "The operator's client secret or certificate for this application has expired, or is not the one that Microsoft knows.",
        "Renew the credential on the app registration and in the settings, then retry.",
        Actor.OPERATOR,
    ),
    "tenant_released": ProblemKind(
        "An administrator of the tenant has taken it back from this account; nothing is done for this grant any more.",
        "Start a new grant for the account if the tenant is to be connected again.",
        Actor.OPERATOR,
    ),
    "plan_awaits_approval": ProblemKind(
        "The plan of the changes in the tenant waits for an operator's approval.",
        "Read the plan on the grant's page and approve it; a plan that has changed meanwhile is shown again.",
        Actor.OPERATOR,
    ),
    "plan_irreversible": ProblemKind(
        "The plan holds a change that can't be undone.",
        "Read the plan on the grant's page; approve it with its irreversible changes, if the customer agrees to them.",
        Actor.OPERATOR,
    ),
    "plan_unsafe": ProblemKind(
        "Carried out, the plan would lose, loop or let past messages in this tenant; nothing was changed.",
        "Look at the routes on the plan's page: change the rules or connectors that they name, then retry the step.",
        Actor.OPERATOR,
    ),
    "mail_not_proved": ProblemKind(
        "Test messages did not show that mail is scanned as it must be. Mail is routed all the same.",
        "Read what each test message came to on the grant's page: whether the product's prober sends and reports, what message "
        "trace shows for its Message-ID, and whether other rules or connectors take the message first. Then prove again.",
        Actor.OPERATOR,
    ),
    "no_test_mailbox": ProblemKind(
        "No mailbox is known in the domains whose mail is scanned, so that no test message can be sent.",
        "Check that a user of these domains has a mailbox, then prove again.",
        Actor.OPERATOR,
    ),
    "removal_leaves": ProblemKind(
        "Something of ours could not be taken back, because something of the tenant's own needs it:",
        "Change what needs it, or agree with the tenant's administrator to do so; then retry the step, or waive what is left.",
        Actor.OPERATOR,
    ),
    "removal_shut_out": ProblemKind(
        "The tenant does not let the application in any more, so that the rest can't be taken back from here. What is left:",
        "Have an administrator run the PowerShell commands that the removal's report lists, in its order, in Exchange Online "
        "PowerShell; then waive what is left. If the application was given its role again, retry the step.",
        Actor.OPERATOR,
    ),
    "access_remains": ProblemKind(
        "Nothing of ours is left in the mail flow; the applications are still allowed in the tenant:",
        "An administrator deletes each one in the Microsoft Entra admin center: Enterprise applications, search for its "
        "application id, Properties, Delete. That takes its consents and its role away. It is noticed here by itself.",
        Actor.TENANT_ADMINISTRATOR,
    ),
    "drain_stuck": ProblemKind(
        "Messages are still under way between the tenant and the scanner, or nobody has said that there are none.",
        "Release or delete what the scanner holds, or waive its report; then retry the step.",
        Actor.OPERATOR,
    ),
    "grant_removed": ProblemKind(
        "What this grant added to its tenant is being taken back, or has been; nothing else is done for it any more.",
        "Start a new grant for the account if the tenant is to be connected again.",
        Actor.OPERATOR,
    ),
    "command_untimely": ProblemKind(
        "The grant, as it is now, has no use for this command.",
        "Nothing was changed. Look at the grant's state, then send the command that fits it.",
        Actor.OPERATOR,
    ),
    "message_unreadable": ProblemKind(
        "A queue message for this grant could not be read; it is kept as a dead letter.",
        "Look at the dead letter's reason; correct and replay it, or retry the step.",
        Actor.OPERATOR,
    ),
}


def problem(code: str, *, cause: str = "", raw: str = "", correlation_id: str = "") -> Problem:
    """Return the catalogue's problem for ``code``; ``cause`` says more of the case at hand.

    Raises KeyError for a code that the catalogue does not have: a defect, not a fault of the tenant.
    """
    kind = CATALOGUE[code]
    return Problem(
        code=code,
        cause=cause or kind.cause,
        fix=kind.fix,
        who=kind.who,
        raw=raw[:2000],
        correlation_id=correlation_id,
    )
