"""The way through Microsoft: sign in, prove tenant and administrator, then consent (or hand over the token for the role).

A redirect is a claim that anyone can forge. The sign-in's redirect counts when the browser that began it brings back its state
and Microsoft's token endpoint gives, for its code, an id_token that proves an administrator of the grant's tenant. The consent's
redirect proves nothing at all: it only prompts a look, and the application's own token tells. A tenant is given back, or taken
from another account, by such a proof alone, and by a new sign-in.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import telemetry
from shared.consent import proof, sealing
from shared.consent.proof import Proof
from shared.consent.sealing import ROLE_SCOPE, SEALED_LIFETIME, SEALED_ROW, sealed_place
from shared.consent.state import (
    FRESH,
    LIFETIME,
    SIGN_INS,
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
    spent_row,
    to_row,
)
from shared.domain import decide, schedule
from shared.domain.decide import MFA_ASKED
from shared.domain.decision import Decision, with_events
from shared.domain.grant import Grant, RoleMode, Row
from shared.domain.problems import GrantlineError, Problem, problem
from shared.domain.steps import STEPS, StepName
from shared.engine import Engine
from shared.ports import Microsoft, SignInAnswer, SignInRequest
from shared.settings import GUID, Settings
from shared.web.ownership import Ownership

LOG = logging.getLogger(__name__)

APPLICATION: Mapping[StepName, str] = {
    StepName.MAIL_FLOW_CONSENT: "mail_flow",
    StepName.DIRECTORY_CONSENT: "directory",
    StepName.ROLE_ASSIGNMENT: "role_helper",
    StepName.ACTIVITY_CONSENT: "activity",
}
"""Which registration each person's step signs in to, unless the way to the role says otherwise."""
REFUSAL_PAUSE = timedelta(minutes=1)
"""For how long the same refusal of the same step is not written down again: a reload, or a program, would fill the audit."""
OF_SIGN_INS = frozenset(
    {
        *("administrator_not_proved", "guest_account", "not_administrator", "personal_account", "role_may_not_consent"),
        *("sign_in_again", "sign_in_failed", "sign_in_not_proved", "tenant_differs", "tenant_taken", "consent_denied"),
    }
)
"""Problems that a refused sign-in leaves on its step: a proved one has cured them."""


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """Handles the requests of a browser on its way through Microsoft; each returns where the browser goes next.

    ``browser`` is the value of the browser's cookie; "" when it has none.
    """

    engine: Engine
    ownership: Ownership
    microsoft: Microsoft
    settings: Settings

    async def begin(self, grant_id: str, step: StepName, browser: str, *, purpose: Purpose = Purpose.SIGN_IN) -> str:
        """Begin a person's step: return Microsoft's sign-in, or the grant's page when no sign-in would move the step.

        ``purpose`` TRANSFER: where another account has the tenant, whoever proves to be its administrator takes it from that
        one. Raises RedirectError for a grant or step that is not there to be begun.
        """
        grant = await self._load(grant_id)
        if STEPS[step].person is None:
            raise RedirectError(problem=problem("grant_unknown"))
        if grant.takes_sign_in(step) and not is_offered(application_of(grant, step), self.settings):
            raise RedirectError(problem=problem("application_not_offered"))
        if not decide.awaits_sign_in(grant, step):
            return grant_page(grant_id)
        return await self._send(grant, step, browser, purpose, grant.pinned_tenant)

    async def begin_release(self, grant_id: str, browser: str) -> str:
        """Begin to give a grant's tenant back: return Microsoft's sign-in, or the grant's page when it has no tenant (any more).

        Raises RedirectError for a grant that is not there.
        """
        grant = await self._load(grant_id)
        if not grant.tenant_id or grant.released_at:
            return grant_page(grant_id)
        return await self._send(grant, StepName.MAIL_FLOW_CONSENT, browser, Purpose.RELEASE, grant.tenant_id)

    async def signed_in(self, query: Mapping[str, str], browser: str) -> str:
        """Take a sign-in's redirect: prove who signed in, pin the tenant, go on to the consent (or queue the role).

        Raises RedirectError with the problem that the page shows; nothing is stored then but the audit event.
        """
        grant, pending, state = await self._pending(query, browser, SIGN_INS)
        if pending.consumed:
            return grant_page(grant.grant_id)
        try:
            return await self._go_on(query, grant, pending, state)
        except RedirectError as error:
            await self._refuse(grant, pending, error.problem, is_shown=pending.purpose is not Purpose.RELEASE)
            raise

    async def consented(self, query: Mapping[str, str], browser: str) -> str:
        """Take the consent's redirect: a prompt to look whether the application has its permissions now."""
        grant, pending, state = await self._pending(query, browser, frozenset({Purpose.ADMIN_CONSENT}))
        if pending.consumed:
            return grant_page(grant.grant_id)
        found = self._consent_problem(query, grant)
        if found:
            await self._refuse(grant, pending, found, is_shown=True)
            raise RedirectError(problem=found)
        await self._queue(grant, pending, state, actor="the administrator's browser")
        return grant_page(grant.grant_id)

    # --- the way out ---------------------------------------------------------------------------------------------------------

    async def _load(self, grant_id: str) -> Grant:
        stored = await self.engine.grants.load(grant_id)
        if stored is None:
            raise RedirectError(problem=problem("grant_unknown"))
        return stored.grant

    async def _send(self, grant: Grant, step: StepName, browser: str, purpose: Purpose, tenant: str) -> str:
        """Store what the redirect is to be held against, and return Microsoft's sign-in, at the tenant's address if known."""
        state, verifier = new_state(grant.grant_id), new_secret()
        pending = Pending(
            purpose=purpose,
            step=step,
            application=application_of(grant, step),
            browser=digest(browser),
            expires_at=self.engine.clock() + LIFETIME,
            nonce=new_secret(),
            sealed_verifier=sealing.seal(self.settings.sealing_key, verifier, place=row_key(state)),
            tenant=tenant or "organizations",
        )
        await self.engine.grants.put(grant.grant_id, to_row(state, pending))
        is_asked = step is StepName.ROLE_ASSIGNMENT and bool(grant.steps[step].facts.get(MFA_ASKED))
        request = replace(self._request(pending, state, verifier), fresh=purpose in FRESH, second_factor=is_asked)
        return self.microsoft.sign_in.authorization_url(request)

    def _request(self, pending: Pending, state: str, verifier: str) -> SignInRequest:
        return SignInRequest(
            application=pending.application,
            tenant=pending.tenant,
            redirect_uri=f"{self.settings.public_url}/signed-in",
            state=state,
            nonce=pending.nonce,
            verifier=verifier,
            scopes=(ROLE_SCOPE,) if _brings_token(pending) else (),
        )

    # --- the way back: which redirect it is ----------------------------------------------------------------------------------

    async def _pending(self, query: Mapping[str, str], browser: str, purposes: frozenset[Purpose]) -> tuple[Grant, Pending, str]:
        """Return what a redirect's state stands for, if this browser began it, for such a purpose, not too long ago."""
        state = query.get("state", "")
        grant_id = grant_of(state)
        stored = await self.engine.grants.load(grant_id) if grant_id else None
        value = await self.engine.grants.row(stored.grant.grant_id, row_key(state)) if stored else None
        if stored is None or value is None:  # anyone can make up a state: no grant is told of it
            LOG.warning("redirect refused: its state is none of ours")
            raise RedirectError(problem=problem("link_unknown"))
        pending = from_row(value)
        if found := self._state_problem(pending, browser, purposes):
            # Whoever was sent the address can bring it: nothing is shown on the step.
            await self._refuse(stored.grant, pending, problem(found), is_shown=False)
            raise RedirectError(problem=problem(found))
        return stored.grant, pending, state

    def _state_problem(self, pending: Pending, browser: str, purposes: frozenset[Purpose]) -> str:
        if not browser or not same(pending.browser, digest(browser)):
            return "other_browser"
        if pending.purpose not in purposes:
            return "link_unknown"
        return "link_expired" if pending.expires_at <= self.engine.clock() else ""

    # --- the way back: who signed in -----------------------------------------------------------------------------------------

    async def _go_on(self, query: Mapping[str, str], grant: Grant, pending: Pending, state: str) -> str:
        """Prove who signed in, and return where the browser goes next."""
        if grant.released_at:
            raise RedirectError(problem=problem("tenant_released"))
        self._check_answer(query)
        # Sent twice, a code is refused and may cost what was given for it (RFC 6749, 4.1.2): of doubled redirects one goes on.
        if not await self.engine.grants.insert(grant.grant_id, Row(spent_row(state), {})):
            return grant_page(grant.grant_id)
        request, answer = await self._redeem(query, pending, state)
        who = await self._prove(request, answer)
        self._check_proof(query, grant, pending, who)
        if pending.purpose is Purpose.RELEASE:
            await self.ownership.release(grant, who, to_row(state, replace(pending, consumed=True)))
            return grant_page(grant.grant_id)
        if _brings_token(pending):
            self._check_token(pending, who, answer)
        if not _moves(grant, pending):
            return grant_page(grant.grant_id)
        await self._own(grant, pending, who)
        if _brings_token(pending):
            return await self._hand_over(grant, pending, state, who, answer)
        return await self._to_consent(grant, pending, state, who)

    def _check_answer(self, query: Mapping[str, str]) -> None:
        """Raise RedirectError for a refusal of Microsoft's, for a redirect without a code, and for another issuer's.

        RFC 9207, 2.4: an issuer that is named is compared before the code is sent anywhere. Microsoft names none as yet.
        """
        if "error" in query:
            found = self.microsoft.sign_in.redirect_problem(query["error"], query.get("error_description", ""))
            raise RedirectError(problem=found)
        before, _, after = self.microsoft.sign_in.issuer().partition("{tenantid}")
        pattern = re.escape(before) + GUID.pattern + re.escape(after)
        if "iss" in query and not re.fullmatch(pattern, query["iss"]):
            raise RedirectError(problem=problem("sign_in_not_proved", raw="the redirect names another issuer"))
        if not query.get("code"):
            raise RedirectError(problem=problem("sign_in_again", raw="the redirect has no code"))

    async def _redeem(self, query: Mapping[str, str], pending: Pending, state: str) -> tuple[SignInRequest, SignInAnswer]:
        try:
            verifier = sealing.unseal(self.settings.sealing_key, pending.sealed_verifier, place=row_key(state))
            request = self._request(pending, state, verifier)
            return request, await self.microsoft.sign_in.redeem(request, query["code"])
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

    def _check_proof(self, query: Mapping[str, str], grant: Grant, pending: Pending, who: Proof) -> None:
        """Raise RedirectError unless who signed in may do what the sign-in was begun for, on this grant."""
        issuer = self.microsoft.sign_in.issuer().replace("{tenantid}", who.tenant_id)
        if query.get("iss", issuer) != issuer:
            raise RedirectError(problem=problem("sign_in_not_proved", raw="the redirect names another issuer"))
        if pending.purpose not in FRESH:
            proof.require_administrator(who, proof.accepted(pending.step, grant.role_mode), grant.pinned_tenant)
            return
        is_release = pending.purpose is Purpose.RELEASE
        proof.require_fresh(who, pending.begun_at)
        proof.require_administrator(who, proof.ADMINISTRATORS, grant.tenant_id if is_release else grant.pinned_tenant)

    async def _own(self, grant: Grant, pending: Pending, who: Proof) -> None:
        """Have the proved tenant for the grant's account. Raises RedirectError where another account has it, and keeps it."""
        if pending.purpose is Purpose.TRANSFER:
            await self.ownership.take_over(grant, who)
        if not await self.ownership.reserve(grant, who):
            address = f"{grant_page(grant.grant_id)}/steps/{pending.step}/transfer"
            raise RedirectError(problem=problem("tenant_taken"), more={"transfer": address})

    def _check_token(self, pending: Pending, who: Proof, answer: SignInAnswer) -> None:
        """Raise RedirectError for an access token that is not the one of this sign-in."""
        sign_in = self.microsoft.sign_in
        client_id = sign_in.client_id(pending.application)
        proof.check_access_token(answer.access_token, who, client_id=client_id, audiences=sign_in.graph_audiences())

    # --- what comes of it ----------------------------------------------------------------------------------------------------

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
        await self._pin(grant, pending, who, rows)
        if await self._is_granted(pending.application, who.tenant_id):
            await self._queue(grant, consent, consent_state, actor=who.user_name)
            return grant_page(grant.grant_id)
        return self.microsoft.sign_in.admin_consent_url(
            pending.application, who.tenant_id, f"{self.settings.public_url}/consented", consent_state
        )

    async def _hand_over(self, grant: Grant, pending: Pending, state: str, who: Proof, answer: SignInAnswer) -> str:
        """Seal the administrator's token in its row and queue the role assignment, in one transaction."""
        expires_at = self.engine.clock() + min(timedelta(seconds=answer.expires_in), SEALED_LIFETIME)
        sealed = sealing.seal(self.settings.sealing_key, answer.access_token, place=sealed_place(grant.grant_id, grant.tenant_id))
        rows = (
            to_row(state, replace(pending, consumed=True)),
            Row(SEALED_ROW, {"sealed": sealed, "expires_at": schedule.stamp(expires_at)}),
        )

        def change(current: Grant, now: datetime) -> Decision | None:
            if not _moves(current, pending):
                return None
            return decide.person_acted(current, pending.step, now, actor=who.user_name, rows=rows)

        await self.engine.commit(grant.grant_id, change)
        return grant_page(grant.grant_id)

    async def _pin(self, grant: Grant, pending: Pending, who: Proof, rows: tuple[Row, ...]) -> None:
        """Pin the tenant in the transaction that consumes the state, and tell that somebody is at Microsoft's consent page."""

        def change(current: Grant, now: datetime) -> Decision | None:
            decision = decide.pin_tenant(current, who.tenant_id, now, actor=who.user_name)
            if decision is None:
                return None
            if decide.awaits_sign_in(decision.grant, pending.step):
                decision = replace(decision, grant=_sent_to_consent(decision.grant, pending.step, now))
            if pending.purpose is Purpose.TRANSFER:
                data = {"tenant_id": who.tenant_id, "actor": who.user_name}
                decision = with_events(decision, now, ("tenant.transferred", pending.step, data))
            return replace(decision, rows=rows)

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

    async def _refuse(self, grant: Grant, pending: Pending, found: Problem, *, is_shown: bool) -> None:
        """Write a refused redirect down as an audit event, at most once in a while; ``is_shown``: on its step, too."""
        LOG.warning("redirect of grant %s refused: %s", grant.grant_id, found.code)
        key, at = f"refused|{pending.step}", self.engine.clock()
        told = await self.engine.grants.row(grant.grant_id, key) or {}
        if found.code in told and schedule.parse(told[found.code]) + REFUSAL_PAUSE > at:
            return
        row = Row(key, {**told, found.code: schedule.stamp(at)})

        def change(current: Grant, now: datetime) -> Decision:
            if is_shown and not current.released_at:
                decision = decide.note(current, pending.step, found, now, event="consent.refused")
            else:
                data = {"code": found.code, "cause": found.cause}
                decision = with_events(Decision(current), now, ("consent.refused", pending.step, data))
            return replace(decision, rows=(row,))

        await self.engine.commit(grant.grant_id, change)


def application_of(grant: Grant, step: StepName) -> str:
    """Return which registration a person signs in to for a step, on the grant's way to the role."""
    is_by_application = step is StepName.ROLE_ASSIGNMENT and grant.role_mode is RoleMode.APPLICATION
    return "role_assigner" if is_by_application else APPLICATION[step]


def is_offered(application: str, settings: Settings) -> bool:
    """Tell whether this installation has a registration for an application."""
    return getattr(settings, f"{application}_client_id") is not None


def grant_page(grant_id: str) -> str:
    """Return the address of a grant's page."""
    return f"/grants/{grant_id}"


def _sent_to_consent(grant: Grant, step: StepName, now: datetime) -> Grant:
    """Return the grant with a step whose administrator is proved, and now at Microsoft's consent page."""
    sent = decide.sent_to_consent(grant, step, now)
    found = sent.steps[step].problem
    return sent.with_step(replace(sent.steps[step], problem=None)) if found and found.code in OF_SIGN_INS else sent


def _brings_token(pending: Pending) -> bool:
    """True where the sign-in is for the administrator's own token, by which the role is assigned."""
    return pending.application == APPLICATION[StepName.ROLE_ASSIGNMENT]


def _moves(grant: Grant, pending: Pending) -> bool:
    """True when what a sign-in was begun for is still asked for: the step waits, on the same way to the role."""
    return decide.awaits_sign_in(grant, pending.step) and application_of(grant, pending.step) == pending.application
