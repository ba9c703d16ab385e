"""Which workflow does which step."""

from collections.abc import Mapping

from shared.domain.steps import StepName
from shared.workflows.access_removal import access_removal
from shared.workflows.access_watch import access_watch
from shared.workflows.activity import activity_consent
from shared.workflows.consents import directory_consent, mail_flow_consent
from shared.workflows.directory_removal import directory_removal
from shared.workflows.directory_sync import directory_sync
from shared.workflows.drain import drain
from shared.workflows.mail_flow import mail_flow
from shared.workflows.mail_proof import mail_proof
from shared.workflows.policy_activation import policy_activation
from shared.workflows.preflight import preflight
from shared.workflows.removal import mail_flow_removal, routing_removal
from shared.workflows.role_assignment import role_assignment
from shared.workflows.run import Workflow
from shared.workflows.verification import verification

WORKFLOWS: Mapping[StepName, Workflow] = {
    StepName.MAIL_FLOW_CONSENT: mail_flow_consent,
    StepName.ROLE_ASSIGNMENT: role_assignment,
    StepName.DIRECTORY_CONSENT: directory_consent,
    StepName.DIRECTORY_SYNC: directory_sync,
    StepName.PREFLIGHT: preflight,
    StepName.MAIL_FLOW: mail_flow,
    StepName.VERIFICATION: verification,
    StepName.POLICY_ACTIVATION: policy_activation,
    StepName.ACTIVITY_CONSENT: activity_consent,
    StepName.MAIL_PROOF: mail_proof,
    StepName.ACCESS_WATCH: access_watch,
    StepName.DAILY_SYNC: directory_sync,
    StepName.ROUTING_REMOVAL: routing_removal,
    StepName.DRAIN: drain,
    StepName.MAIL_FLOW_REMOVAL: mail_flow_removal,
    StepName.DIRECTORY_REMOVAL: directory_removal,
    StepName.ACCESS_REMOVAL: access_removal,
}
"""One workflow for every step."""
