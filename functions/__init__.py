"""The ways in, one small file for each. The settings are checked when they are loaded, so that a wrong one stops the start."""

import os

from shared import settings

settings.load(os.environ)

from functions import (  # noqa: E402 - a missing setting is told before anything else is loaded
    consent_redirects,
    console_administration,
    console_commands,
    console_pages,
    directory_sync,
    json_api,
    mail_flow,
    onboarding,
    role_assignment,
    timers,
    verification,
)

BLUEPRINTS = (
    console_pages.blueprint,
    console_administration.blueprint,
    json_api.blueprint,
    consent_redirects.blueprint,
    onboarding.blueprint,
    console_commands.blueprint,
    role_assignment.blueprint,
    mail_flow.blueprint,
    directory_sync.blueprint,
    verification.blueprint,
    timers.blueprint,
)
"""Every blueprint of the application."""
