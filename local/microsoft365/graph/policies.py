"""What Privileged Identity Management asks for each directory role: its policies, with their rules.

Form, ids and the values that no tenant changes here: the examples of
learn.microsoft.com/graph/api/policyroot-list-rolemanagementpolicyassignments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from local.microsoft365.graph.collections import accepted, page, scan_list, selection
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import GraphError, unsupported_query
from local.microsoft365.graph.shapes import Shape, mapping_shape, row
from local.microsoft365.model import Role, RolePolicy, Tenant
from local.microsoft365.role_assignments import WHOLE_TENANT, policy_of

_SCOPE_TYPES = ("DirectoryRole", "Directory")
_ASSIGNMENT = mapping_shape("unifiedRoleManagementPolicyAssignment", "id", "policyId", "scopeId", "scopeType", "roleDefinitionId")
_POLICY = mapping_shape(
    "unifiedRoleManagementPolicy",
    "id",
    "displayName",
    "description",
    "isOrganizationDefault",
    "scopeId",
    "scopeType",
    "lastModifiedDateTime",
    "lastModifiedBy",
)
_RECIPIENTS = ("Admin", "Requestor", "Approver")
_ENABLED_ORDER = ("MultiFactorAuthentication", "Justification", "Ticketing")


def list_policy_assignments(context: Context) -> Answer:
    """GET /policies/roleManagementPolicyAssignments: which policy a role has; the filter must name the scope.

    Raises GraphError (400) without that filter.
    """
    kind = _scope_type(context)
    rows = [_assignment(context.tenant, role, kind) for role in Role]
    columns = _ASSIGNMENT.columns(context.query.select, None)

    def write(item: Mapping[str, Any]) -> dict[str, Any]:
        expanded = {"policy": _policy_with(context, item, "policy")} if context.query.expand else {}
        return {**row(columns, item), **expanded}

    return _page(context, "policies/roleManagementPolicyAssignments", _ASSIGNMENT, rows, write)


def list_policies(context: Context) -> Answer:
    """GET /policies/roleManagementPolicies: the policies themselves; the filter must name the scope.

    Raises GraphError (400) without that filter.
    """
    kind = _scope_type(context)
    rows = [_policy(context.tenant, role, kind) for role in Role]
    columns = _POLICY.columns(context.query.select, None)

    def write(item: Mapping[str, Any]) -> dict[str, Any]:
        return {**row(columns, item), **_rules_of(context, item["role"], "")}

    return _page(context, "policies/roleManagementPolicies", _POLICY, rows, write)


def _page(context: Context, path: str, shape: Shape[Mapping[str, Any]], rows: list[dict[str, Any]], write: Any) -> Answer:
    return page(context, path + selection(context), scan_list(rows), write, keep=lambda found: accepted(context, shape, found))


def _scope_type(context: Context) -> str:
    demands = context.query.filter.demands if context.query.filter is not None else {}
    kind = demands.get("scopeType")
    if demands.get("scopeId") != WHOLE_TENANT or kind not in _SCOPE_TYPES:
        raise GraphError(400, "MissingProvider", "The provider is missing.")
    return str(kind)


def _policy_id(tenant: Tenant, role: Role, kind: str) -> str:
    return f"{kind}_{tenant.id}_{uuid5(UUID(tenant.id), f'policy/{role.value}')}"


def _assignment(tenant: Tenant, role: Role, kind: str) -> dict[str, Any]:
    policy = _policy_id(tenant, role, kind)
    return {
        "id": f"{policy}_{role.value}",
        "policyId": policy,
        "scopeId": WHOLE_TENANT,
        "scopeType": kind,
        "roleDefinitionId": role.value,
    }


def _policy(tenant: Tenant, role: Role, kind: str) -> dict[str, Any]:
    return {
        "id": _policy_id(tenant, role, kind),
        "displayName": kind,
        "description": kind,
        "isOrganizationDefault": False,
        "scopeId": WHOLE_TENANT,
        "scopeType": kind,
        "lastModifiedDateTime": None,
        "lastModifiedBy": {"displayName": None, "id": None},
        "role": role,
    }


def _policy_with(context: Context, assignment: Mapping[str, Any], name: str) -> dict[str, Any]:
    role = Role(assignment["roleDefinitionId"])
    shown = row(_POLICY.columns((), None), _policy(context.tenant, role, assignment["scopeType"]))
    return {**shown, **_rules_of(context, role, name)}


def _rules_of(context: Context, role: Role, parent: str) -> dict[str, Any]:
    """Return the rules where `$expand` asks for them. Raises GraphError (400) where it asks for anything else."""
    expand = context.query.expand.replace(" ", "")
    with_rules = f"{parent}($expand=rules)" if parent else "rules"
    if expand not in {parent, with_rules}:
        raise unsupported_query(f"The query parameter '$expand={context.query.expand}' is not supported.")
    return {"rules": rules(policy_of(context.tenant, role))} if expand == with_rules else {}


def _target(caller: str, level: str) -> dict[str, Any]:
    return {
        "caller": caller,
        "operations": ["all"],
        "level": level,
        "inheritableSettings": [],
        "enforcedSettings": [],
    }


def _rule(kind: str, caller: str, level: str, **values: Any) -> dict[str, Any]:
    return {
        "@odata.type": f"#microsoft.graph.unifiedRoleManagementPolicy{kind}Rule",
        "id": f"{kind}_{caller}_{level}",
        **values,
        "target": _target(caller, level),
    }


def _notifications(caller: str, level: str) -> list[dict[str, Any]]:
    return [
        _rule(
            "Notification",
            caller,
            level,
            notificationType="Email",
            recipientType=recipient,
            notificationLevel="All",
            isDefaultRecipientsEnabled=True,
            notificationRecipients=[],
        )
        | {"id": f"Notification_{recipient}_{caller}_{level}"}
        for recipient in _RECIPIENTS
    ]


def _approval(*, required: bool) -> dict[str, Any]:
    stage = {
        "approvalStageTimeOutInDays": 1,
        "isApproverJustificationRequired": True,
        "escalationTimeInMinutes": 0,
        "isEscalationEnabled": False,
        "primaryApprovers": [],
        "escalationApprovers": [],
    }
    return {
        "isApprovalRequired": required,
        "isApprovalRequiredForExtension": False,
        "isRequestorJustificationRequired": True,
        "approvalMode": "SingleStage",
        "approvalStages": [stage],
    }


def rules(policy: RolePolicy) -> list[dict[str, Any]]:
    """Return all seventeen rules of a policy; those that `RolePolicy` doesn't hold are as in a new tenant."""
    enabled = [name for name in _ENABLED_ORDER if name in policy.enabled_rules]
    context = policy.authentication_context
    return [
        _rule("Expiration", "Admin", "Eligibility", isExpirationRequired=False, maximumDuration="P365D"),
        _rule("Enablement", "Admin", "Eligibility", enabledRules=[]),
        *_notifications("Admin", "Eligibility"),
        _rule(
            "Expiration",
            "Admin",
            "Assignment",
            isExpirationRequired=policy.is_expiration_required,
            maximumDuration=policy.maximum_duration,
        ),
        _rule("Enablement", "Admin", "Assignment", enabledRules=enabled),
        *_notifications("Admin", "Assignment"),
        _rule("Expiration", "EndUser", "Assignment", isExpirationRequired=True, maximumDuration="PT8H"),
        _rule("Enablement", "EndUser", "Assignment", enabledRules=["MultiFactorAuthentication", "Justification"]),
        _rule("Approval", "EndUser", "Assignment", setting=_approval(required=policy.requires_approval)),
        _rule("AuthenticationContext", "EndUser", "Assignment", isEnabled=bool(context), claimValue=context or None),
        *_notifications("EndUser", "Assignment"),
    ]
