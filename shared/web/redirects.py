"""The way through Microsoft: sign in, prove tenant and administrator, then consent (or hand over the token for the role).

A redirect is a claim that anyone can forge. The sign-in's redirect counts when the browser that began it brings back its state
and Microsoft's token endpoint gives, for its code, an id_token that proves an administrator of the grant's tenant. The consent's
redirect proves nothing at all: it only prompts a look, and the application's own token tells.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import telemetry
from shared.consent import proof, sealing
from shared.consent.proof import Proof
from shared.consent.sealing import ROLE_SCOPE, SEALED_ROW, TOKEN_LIFETIME, sealed_place
from shared.consent.state import (
    LIFETIME,
    Pending,
    Purpose,
    RedirectError,
    digest,
    from_row,
    grant_of,
    new_secret,
    new_state,
    row_key,
    same,
    to_row,
)
from shared.domain import decide, schedule
from shared.domain.decide import Decision
from shared.domain.grant import Grant, Row
from shared.domain.problems import GrantlineError, Problem, problem
from shared.domain.steps import StepName, StepState
from shared.engine import Engine
from shared.ports import Binding, Bindings, Microsoft, SignInAnswer, SignInRequest
from shared.settings import Settings

LOG = logging.getLogger(__name__)

APPLICATION: Mapping[StepName, str] = {
    StepName.MAIL_FLOW_CONSENT: "mail_flow",
    StepName.DIRECTORY_CONSENT: "directory",
    StepName.ROLE_ASSIGNMENT: "role_helper",
    StepName.ACTIVITY_CONSENT: "activity",
}
"""Which registration each person's step signs in to."""


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """Handles the three requests of a browser on its way through Microsoft; each returns where the browser goes next.

    ``browser`` is the value of the browser's cookie; "" when it has none.
    """

    engine: Engine
    bindings: Bindings
    microsoft: Microsoft
    settings: Settings

    async def begin(self, grant_id: str, step: StepName, browser: str) -> str:
        """Begin a person's step: return Microsoft's sign-in, or the grant's page when the step waits for nobody.

        Raises RedirectError for a grant or step that is not there to be begun.
        """
        stored = await self.engine.grants.load(grant_id)
        if stored is None or stored.grant.person_of(step) is None:
            raise RedirectError(problem=problem("grant_unknown"))
        if step is StepName.ACTIVITY_CONSENT and not self.settings.offers_activity:
            raise RedirectError(problem=problem("application_not_offered"))
        grant = stored.grant
        if grant.steps[step].state not in (StepState.WAITING_FOR_PERSON, StepState.NEEDS_ATTENTION):
            return grant_page(grant_id)
        state, verifier = new_state(grant_id), new_secret()
        pending = Pending(
            purpose=Purpose.SIGN_IN,
            step=step,
            application=APPLICATION[step],
            browser=digest(browser),
            expires_at=self.engine.clock() + LIFETIME,
            nonce=new_secret(),
            sealed_verifier=sealing.seal(self.settings.sealing_key, verifier, place=row_key(state)),
            tenant=grant.pinned_tenant or "organizations",
        )
        await self.engine.grants.put(grant_id, to_row(state, pending))
        return self.microsoft.sign_in.authorization_url(self._request(pending, state, verifier))

    async def signed_in(self, query: Mapping[str, str], browser: str) -> str:
        """Take the sign-in's redirect: prove who signed in, pin the tenant, go on to the consent (or queue the role).

        Raises RedirectError with the problem that the page shows; nothing is stored then but the audit event.
        """
        grant, pending, state = await self._pending(query, browser, Purpose.SIGN_IN)
        if pending.consumed:
            return grant_page(grant.grant_id)
        try:
            return await self._go_on(query, grant, pending, state)
        except RedirectError as error:
            await self._refuse(grant, pending.step, error.problem)
            raise

    async def consented(self, query: Mapping[str, str], browser: str) -> str:
        """Take the consent's redirect: a prompt to look whether the application has its permissions now."""
        grant, pending, state = await self._pending(query, browser, Purpose.ADMIN_CONSENT)
        if pending.consumed:
            return grant_page(grant.grant_id)
        found = self._consent_problem(query, grant)
        if found:
            await self._refuse(grant, pending.step, found)
            raise RedirectError(problem=found)
        await self._queue(grant, pending, state, actor="the administrator's browser")
        return grant_page(grant.grant_id)

    async def _pending(self, query: Mapping[str, str], browser: str, purpose: Purpose) -> tuple[Grant, Pending, str]:
        """Return what a redirect's state stands for, if this browser began it, for this purpose, not too long ago."""
        state = query.get("state", "")
        grant_id = grant_of(state)
        stored = await self.engine.grants.load(grant_id) if grant_id else None
        if stored is None:
            LOG.warning("redirect refused: its state names no grant")
            raise RedirectError(problem=problem("link_unknown"))
        value = await self.engine.grants.row(stored.grant.grant_id, row_key(state))
        pending = from_row(value) if value else None
        found = self._state_problem(pending, browser, purpose) if pending else "link_unknown"
        if found or pending is None:
            # A state that was never given must not paint a problem on a step: anyone can make one up.
            await self._refuse(stored.grant, pending.step if pending else None, problem(found))
            raise RedirectError(problem=problem(found))
        return stored.grant, pending, state

    def _state_problem(self, pending: Pending, browser: str, purpose: Purpose) -> str:
        if not browser or not same(pending.browser, digest(browser)):
            return "other_browser"
        if pending.purpose is not purpose:
            return "link_unknown"
        return "link_expired" if pending.expires_at <= self.engine.clock() else ""

    async def _go_on(self, query: Mapping[str, str], grant: Grant, pending: Pending, state: str) -> str:
        """Prove who signed in, reserve the tenant, and return where the browser goes next."""
        request, answer = await self._redeem(query, pending, state)
        who = await self._prove(request, answer)
        proof.require_administrator(who, pending.step, grant.pinned_tenant)
        await self._reserve(grant, who)
        if pending.step is StepName.ROLE_ASSIGNMENT:
            return await self._hand_over(grant, pending, state, who, answer)
        return await self._to_consent(grant, pending, state, who)

    async def _redeem(self, query: Mapping[str, str], pending: Pending, state: str) -> tuple[SignInRequest, SignInAnswer]:
        if "error" in query:
            found = self.microsoft.sign_in.redirect_problem(query["error"], query.get("error_description", ""))
            raise RedirectError(problem=found)
        try:
            verifier = sealing.unseal(self.settings.sealing_key, pending.sealed_verifier, place=row_key(state))
            request = self._request(pending, state, verifier)
            return request, await self.microsoft.sign_in.redeem(request, query.get("code", ""))
        except GrantlineError as error:
            found = getattr(error, "problem", None) or problem("sign_in_failed", raw=telemetry.redact(str(error)))
            raise RedirectError(problem=found) from error

    async def _prove(self, request: SignInRequest, answer: SignInAnswer) -> Proof:
        sign_in = self.microsoft.sign_in
        kid = proof.key_id(answer.id_token)
        keys = await sign_in.signing_keys()
        if kid not in keys:  # Microsoft rolls its keys: an unknown one is looked up anew, once
            keys = await sign_in.signing_keys(fresh=True)
        if kid not in keys:
            raise RedirectError(problem=problem("sign_in_not_proved", raw="the id_token's key is not one of Microsoft's"))
        return proof.prove(
            answer.id_token,
            key=keys[kid],
            client_id=sign_in.client_id(request.application),
            issuer=sign_in.issuer(),
            nonce=request.nonce,
            now=self.engine.clock(),
        )

    async def _reserve(self, grant: Grant, who: Proof) -> None:
        """Reserve the proved tenant for the grant's account."""
        wish = Binding(who.tenant_id, grant.account_id, grant.grant_id, self.engine.clock())
        if (await self.bindings.bind_tenant(wish)).account_id != grant.account_id:
            raise RedirectError(problem=problem("tenant_taken"))

    async def _to_consent(self, grant: Grant, pending: Pending, state: str, who: Proof) -> str:
        """Pin the tenant and go on to Microsoft's consent page, unless the consent is there already."""
        consent_state = new_state(grant.grant_id)
        consent = replace(
            pending,
            purpose=Purpose.ADMIN_CONSENT,
            expires_at=self.engine.clock() + LIFETIME,
            nonce="",
            sealed_verifier="",
            tenant=who.tenant_id,
        )
        rows = (to_row(state, replace(pending, consumed=True)), to_row(consent_state, consent))
        await self._pin(grant, who, rows)
        if await self._is_granted(pending.application, who.tenant_id):
            await self._queue(grant, consent, consent_state, actor=who.user_name)
            return grant_page(grant.grant_id)
        return self.microsoft.sign_in.admin_consent_url(
            pending.application, who.tenant_id, f"{self.settings.public_url}/consented", consent_state
        )

    async def _hand_over(self, grant: Grant, pending: Pending, state: str, who: Proof, answer: SignInAnswer) -> str:
        """Seal the administrator's token in its row and queue the role assignment, in one transaction."""
        now = self.engine.clock()
        expires_at = now + min(timedelta(seconds=answer.expires_in), TOKEN_LIFETIME)
        sealed = sealing.seal(self.settings.sealing_key, answer.access_token, place=sealed_place(grant.grant_id, grant.tenant_id))
        rows = (
            to_row(state, replace(pending, consumed=True)),
            Row(SEALED_ROW, {"sealed": sealed, "expires_at": schedule.stamp(expires_at)}),
        )
        await self.engine.commit(
            grant.grant_id,
            lambda current, at: decide.person_acted(current, pending.step, at, actor=who.user_name, rows=rows),
        )
        return grant_page(grant.grant_id)

    async def _pin(self, grant: Grant, who: Proof, rows: tuple[Row, ...]) -> None:
        """Pin the tenant in the transaction that consumes the state."""

        def change(current: Grant, now: datetime) -> Decision | None:
            decision = decide.pin_tenant(current, who.tenant_id, now, actor=who.user_name)
            return replace(decision, rows=rows) if decision else None

        if await self.engine.commit(grant.grant_id, change) is None:
            raise RedirectError(problem=problem("tenant_differs"))

    async def _queue(self, grant: Grant, pending: Pending, state: str, *, actor: str) -> None:
        """Queue a consent's step to look for its effect; a step that waits for nobody is left as it is."""
        rows = (to_row(state, replace(pending, consumed=True)),)
        await self.engine.commit(
            grant.grant_id, lambda current, now: decide.person_acted(current, pending.step, now, actor=actor, rows=rows)
        )

    async def _is_granted(self, application: str, tenant_id: str) -> bool:
        """Tell whether the application has all its permissions already, so that nobody consents twice."""
        identity = self.microsoft.identity
        try:
            token = await identity.application_token(application, tenant_id)
        except GrantlineError as error:
            LOG.debug("no consent of %s yet: %s", application, telemetry.describe(error))
            return False
        return identity.required_permissions(application) <= token.permissions

    def _consent_problem(self, query: Mapping[str, str], grant: Grant) -> Problem | None:
        # A refusal also carries admin_consent=True: the error is looked at first.
        if "error" in query:
            return self.microsoft.sign_in.redirect_problem(query["error"], query.get("error_description", ""))
        if query.get("tenant", "").lower() != grant.tenant_id:
            return problem("tenant_differs")
        return None

    async def _refuse(self, grant: Grant, step: StepName | None, found: Problem) -> None:
        """Write a refused redirect down as an audit event."""
        LOG.warning("redirect of grant %s refused: %s", grant.grant_id, found.code)
        await self.engine.commit(
            grant.grant_id, lambda current, now: decide.note(current, step, found, now, event="consent.refused")
        )

    def _request(self, pending: Pending, state: str, verifier: str) -> SignInRequest:
        is_role = pending.step is StepName.ROLE_ASSIGNMENT
        return SignInRequest(
            application=pending.application,
            tenant=pending.tenant,
            redirect_uri=f"{self.settings.public_url}/signed-in",
            state=state,
            nonce=pending.nonce,
            verifier=verifier,
            scopes=(ROLE_SCOPE,) if is_role else (),
        )


def grant_page(grant_id: str) -> str:
    """Return the address of a grant's page."""
    return f"/grants/{grant_id}"
