"""Onboarding links in use: an operator creates one, a browser uses it, and is known by it afterwards."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict

from shared.consent import onboarding
from shared.consent.onboarding import Link, Sent, Standing
from shared.domain.decision import Decision
from shared.domain.grant import Grant, Row
from shared.domain.problems import CATALOGUE, ProblemError, problem
from shared.engine import Engine
from shared.messages import Identifier
from shared.settings import Settings

LINKS_NAMESPACE = UUID("2f5d7f3a-52a4-5d0b-9a53-0d5b3d0c2a61")
"""Link ids are UUIDs (RFC 9562, version 5) of grant and command in this namespace: the same command is the same link."""


class Command(BaseModel):
    """An operator's wish for a link, pinned to a tenant's id where there is one; the same ``command_id`` is the same link."""

    model_config = ConfigDict(frozen=True)

    command_id: Identifier
    tenant_id: str
    requested_by: str

    def row(self) -> Row:
        """Return the row that the command counts from: what was asked for, hashed, whoever asked."""
        content = f"onboarding_link|{self.tenant_id}"
        return Row(f"command|{self.command_id}", {"sha256": hashlib.sha256(content.encode()).hexdigest()})


@dataclass(frozen=True, slots=True)
class Opened:
    """A link as a browser has opened it: what it is worth to this browser, its grant and who sent it."""

    standing: Standing
    sent: Sent
    grant: Grant


@dataclass(frozen=True, slots=True)
class OnboardingLinks:
    """Creates, opens and uses onboarding links. ``browser`` is the value of the browser's cookie."""

    engine: Engine
    settings: Settings

    async def create(self, grant_id: str, command: Command) -> Link:
        """Create a grant's newest link, which cuts off the one before and its holder; the same command returns the same link.

        Raises ProblemError: tenant_settled (the grant is another tenant's), command_reused, onboarding_replaced
        (the command comes again, and a newer link has been created since).
        """
        link = onboarding.new_link(grant_id, str(uuid5(LINKS_NAMESPACE, f"{grant_id}|{command.command_id}")), self.engine.clock())
        known = await self._known(link, command)
        if known:
            return known
        sent = Sent(link, command.requested_by)

        def change(grant: Grant, now: datetime) -> Decision | None:
            return onboarding.created(grant, sent, now, tenant_id=command.tenant_id, rows=(command.row(),))

        if await self.engine.commit(grant_id, change, unless=command.row().key):
            return link
        known = await self._known(link, command)
        if known is None:
            raise ProblemError(problem=problem("tenant_settled"))
        return known

    async def open(self, token: str, browser: str) -> Opened:
        """Return what a link is worth to a browser; nothing is changed. Raises ProblemError for a link that does not open."""
        link = onboarding.read(self.settings.sealing_key, token)
        stored = await self.engine.grants.load(link.grant_id)
        sent = await self._sent(link.grant_id)
        if stored is None or sent is None:
            raise ProblemError(problem=problem("onboarding_unknown"))
        standing = await self._standing(link, sent, browser)
        if standing in (Standing.OPEN, Standing.HELD):
            return Opened(standing, sent, stored.grant)
        cause = f"{CATALOGUE[standing].cause} It was sent by {sent.sent_by}." if sent.sent_by else ""
        raise ProblemError(problem=problem(standing, cause=cause))

    async def accept(self, token: str, browser: str) -> str:
        """Use a link, once: from now on this browser holds it. Return its grant's id; the holder's own repetition is no error.

        Raises ProblemError for a link that does not open, or that another browser used a moment before.
        """
        opened = await self.open(token, browser)
        sent = opened.sent
        if opened.standing is Standing.OPEN:
            await self.engine.commit(
                sent.link.grant_id,
                lambda grant, now: onboarding.used(grant, sent, browser, now),
                unless=onboarding.used_row(sent.link.link_id),
            )
            await self.open(token, browser)
        return sent.link.grant_id

    async def is_held(self, grant_id: str, browser: str) -> bool:
        """Tell whether the browser holds the grant's newest link, and for how long it may is not over."""
        sent = await self._sent(grant_id)
        return sent is not None and await self._standing(sent.link, sent, browser) is Standing.HELD

    def address(self, link: Link) -> str:
        """Return the address of a link. It is as good as the link: it belongs in a message to one person, and in no log."""
        return f"{self.settings.public_url}/onboarding/{onboarding.sign(self.settings.sealing_key, link)}"

    async def _standing(self, link: Link, sent: Sent, browser: str) -> Standing:
        value = await self.engine.grants.row(link.grant_id, onboarding.used_row(link.link_id))
        return onboarding.judge(link, sent, onboarding.use_of(value) if value else None, browser, self.engine.clock())

    async def _sent(self, grant_id: str) -> Sent | None:
        value = await self.engine.grants.row(grant_id, onboarding.LINK_ROW)
        return onboarding.sent_of(grant_id, value) if value else None

    async def _known(self, link: Link, command: Command) -> Link | None:
        """Return the link of a command that was carried out before. Raises ProblemError for another command of the same id."""
        row = command.row()
        found = await self.engine.grants.row(link.grant_id, row.key)
        if found is None:
            return None
        if found.get("sha256") != row.value["sha256"]:
            raise ProblemError(problem=problem("command_reused"))
        sent = await self._sent(link.grant_id)
        if sent is None or sent.link.link_id != link.link_id:
            raise ProblemError(problem=problem("onboarding_replaced"))
        return sent.link
