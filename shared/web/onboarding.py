"""The views of onboarding links: an operator creates one, an administrator without an account opens and uses it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from shared.consent.onboarding import HOLDER_LIFETIME, Link, Standing
from shared.consent.state import new_secret
from shared.domain import schedule
from shared.domain.grant import Grant
from shared.domain.problems import ProblemError, problem
from shared.domain.steps import STEPS, StepName
from shared.messages import Identifier
from shared.web import views
from shared.web.http import Reply, Request, as_json, see_other
from shared.web.links import Command
from shared.web.reading import Reading
from shared.web.redirects import application_of, grant_page
from shared.web.role import WAYS
from shared.web.site import Site, page

HOLDER_HOURS = int(HOLDER_LIFETIME.total_seconds() // 3600)

TenantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{0,253}$", strip_whitespace=True)]


class LinkWish(BaseModel):
    """What an operator asks for: an onboarding link, for one tenant alone where ``tenant`` names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: TenantName = Field("", description="The tenant's id or one of its domains; empty: whichever an administrator proves.")


async def create(site: Site, request: Request) -> Reply:
    """Create a grant's onboarding link as a form asks, and show it with what to write; only this page ever shows it."""
    stored = await site.load(request)
    form = {name: values[-1] for name, values in request.form().items()}
    link = await _create(site, request, {"tenant": form.get("tenant", "")}, form.get("command_id", ""))
    grant = (await site.load(request)).grant
    return page(
        site,
        request,
        "onboarding_link.html",
        account_name=stored.grant.account_name,
        back=grant_page(link.grant_id),
        address=site.links.address(link),
        expires_at=schedule.stamp(link.expires_at),
        tenant=grant.pinned_tenant,
        hours=HOLDER_HOURS,
    )


async def api_create(site: Site, request: Request) -> Reply:
    """Create a grant's onboarding link; the header Idempotency-Key makes a repetition give the same one."""
    grant_id = (await site.load(request)).grant.grant_id
    reading = Reading(request)
    key = reading.key()
    wish = reading.body(LinkWish)
    tenant_id = await site.tenant_of(wish.tenant)
    link = await site.links.create(grant_id, Command(command_id=key, tenant_id=tenant_id, requested_by=request.visitor.name))
    return as_json(link_view(site, link, (await site.load(request)).grant), status=201)


def link_view(site: Site, link: Link, grant: Grant) -> dict[str, Any]:
    """Return a link for a program: its address, until when it may be used, and the only tenant it is for, "" for any."""
    return {
        "grant_id": link.grant_id,
        "address": site.links.address(link),
        "expires_at": schedule.stamp(link.expires_at),
        "tenant_id": grant.pinned_tenant,
    }


async def open_link(site: Site, request: Request) -> Reply:
    """Show what a link is about and the button that uses it; who holds it already is shown the grant.

    Opening changes nothing: mail scanners open links before people do (Microsoft's Safe Links, for one).
    """
    opened = await site.links.open(request.route["token"], request.browser)
    if opened.standing is Standing.HELD:
        return see_other(grant_page(opened.grant.grant_id))
    return page(
        site,
        request,
        "onboarding.html",
        account_name=opened.grant.account_name,
        sent_by=opened.sent.sent_by,
        expires_at=schedule.stamp(opened.sent.link.expires_at),
        tenant=opened.grant.pinned_tenant,
        steps=_asked(site, opened.grant),
        hours=HOLDER_HOURS,
    )


async def accept(site: Site, request: Request) -> Reply:
    """Use a link: from now on this browser holds it, and is shown the grant."""
    return see_other(grant_page(await site.links.accept(request.route["token"], request.browser)))


async def _create(site: Site, request: Request, wish: object, command_id: str) -> Link:
    try:
        tenant = LinkWish.model_validate(wish).tenant
        command_id = TypeAdapter(Identifier).validate_python(command_id or new_secret())
    except ValidationError as error:
        raise _unreadable("; ".join(each["msg"] for each in error.errors())) from None
    command = Command(command_id=command_id, tenant_id=await site.tenant_of(tenant), requested_by=request.visitor.name)
    return await site.links.create(request.route["grant_id"], command)


def _unreadable(why: str) -> ProblemError:
    return ProblemError(problem=problem("form_unreadable", cause=f"The form can't be taken: {why}"))


def _asked(site: Site, grant: Grant) -> list[dict[str, Any]]:
    """Return what the administrator is asked for: each step of a person that is not done, with its permissions.

    What is optional is asked for once nothing else is left. The role by hand or by a script asks for no permission.
    """
    left = [name for name in STEPS if STEPS[name].person and not grant.steps[name].is_done]
    required = [name for name in left if not STEPS[name].is_optional]
    return [_step_asked(site, grant, name) for name in required or left]


def _step_asked(site: Site, grant: Grant, name: StepName) -> dict[str, Any]:
    is_asked = grant.takes_sign_in(name)
    missing = views.consent_view(grant, name)["missing"] if name in views.CONSENTS else ()
    return {
        "title": STEPS[name].title,
        "asks": STEPS[name].asks if is_asked else next(way.explained for way in WAYS if way.mode is grant.role_mode),
        "permissions": site.microsoft.identity.asked_permissions(application_of(grant, name)) if is_asked else (),
        "missing": missing,
    }
