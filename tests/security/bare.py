"""A console with nothing behind its front door but the rows of onboarding links: whoever gets further fails."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from shared import settings as app_settings
from shared.consent import onboarding
from shared.consent.onboarding import Link, Sent
from shared.consent.state import digest
from shared.domain import schedule
from shared.domain.grant import Facts
from shared.settings import Settings
from shared.web.links import OnboardingLinks
from shared.web.site import Site
from tests.support.app_settings import APP_SETTINGS

WITH_SIGN_IN = app_settings.load({**APP_SETTINGS, "WEBSITE_AUTH_ENABLED": "True"})
WITHOUT_SIGN_IN = app_settings.load(APP_SETTINGS)
ON_THIS_MACHINE = app_settings.load({**APP_SETTINGS, "GRANTLINE_DEVELOPMENT_IDENTITY": "true"})
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


@dataclass
class Rows:
    """The rows of grants' partitions, by grant id and key; counts how often it is read."""

    rows: dict[tuple[str, str], Facts] = field(default_factory=dict)
    reads: int = 0

    async def row(self, grant_id: str, key: str) -> Facts | None:
        """Return one row, or None."""
        self.reads += 1
        return self.rows.get((grant_id, key))

    def hold(self, grant_id: str, browser: str, since: timedelta = timedelta()) -> None:
        """Have a browser hold the grant's onboarding link since a while."""
        link = Link(grant_id, f"link of {browser}", NOW - since + onboarding.LINK_LIFETIME)
        row = onboarding.to_row(Sent(link, "an operator"))
        self.rows[grant_id, row.key] = row.value
        used = {"browser": digest(browser), "at": schedule.stamp(NOW - since)}
        self.rows[grant_id, onboarding.used_row(link.link_id)] = used


def bare_site(settings: Settings, rows: Rows | None = None) -> Site:
    """Return a site with nothing behind it but ``rows``: whoever gets that far without a view of the test's own fails."""
    engine: Any = SimpleNamespace(grants=rows or Rows(), clock=lambda: NOW)
    nothing: dict[str, Any] = dict.fromkeys(("grants", "accounts", "microsoft", "commands", "consent"))
    return Site(settings, **nothing, links=OnboardingLinks(engine, settings))
