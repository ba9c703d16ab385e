"""Directory roles: their definitions, and who holds them. What Privileged Identity Management adds is in `schedules.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.microsoft365.graph.collections import entity, list_page, page, scan_list, selection
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import bad_request, malformed, not_found, unsupported_query
from local.microsoft365.graph.shapes import ROLE_ASSIGNMENT, ROLE_DEFINITION, SERVICE_PRINCIPAL, USER, row
from local.microsoft365.model import ROLE_NAMES, Role, RoleAssignment
from local.microsoft365.role_assignments import AlreadyAssignedError, UnknownPrincipalError, assign, is_active, take_back

ASSIGNMENTS = "roleManagement/directory/roleAssignments"
DEFINITIONS = "roleManagement/directory/roleDefinitions"
_CONFLICT = "A conflicting object with one or more of the specified property values is present in the directory."


def _definition(role: Role) -> dict[str, Any]:
    name = ROLE_NAMES[role]
    return {
        "id": role.value,
        "description": f"The built-in role {name}.",
        "displayName": name,
        "isBuiltIn": True,
        "isEnabled": True,
        "templateId": role.value,
        "version": "1",
        "rolePermissions": [{"allowedResourceActions": [], "condition": None}],
    }


def list_definitions(context: Context) -> Answer:
    """GET roleDefinitions: the built-in roles that the simulation knows."""
    return list_page(context, DEFINITIONS, ROLE_DEFINITION, scan_list([_definition(role) for role in Role]))


def get_definition(context: Context) -> Answer:
    """GET roleDefinitions/{template id}; raises GraphError (404) when there is none."""
    identifier = context.key("unifiedRoleDefinition-id")
    if identifier.lower() not in set(Role):
        raise not_found(identifier)
    return entity(context, DEFINITIONS, ROLE_DEFINITION, _definition(Role(identifier.lower())))


def _principal_view(context: Context, principal_id: str) -> dict[str, Any] | None:
    principal = context.tenant.service_principals.get(principal_id)
    if principal is not None:
        shown = row(SERVICE_PRINCIPAL.columns((), None), principal)
        return {"@odata.type": SERVICE_PRINCIPAL.annotation, **shown}
    user = context.tenant.users.get(principal_id)
    return {"@odata.type": USER.annotation, **row(USER.columns((), None), user)} if user is not None else None


def expanded(context: Context, principal_id: str, role_id: str) -> dict[str, Any]:
    """Return what `$expand` adds; only one of principal and roleDefinition may be expanded at a time.

    Raises GraphError (400) for anything else.
    """
    expand = context.query.expand.partition("(")[0]
    if not expand:
        return {}
    if expand == "principal":
        return {"principal": _principal_view(context, principal_id)}
    if expand == "roleDefinition":
        return {"roleDefinition": _definition(Role(role_id))}
    raise unsupported_query(f"The query parameter '$expand={context.query.expand}' is not supported.")


def list_assignments(context: Context) -> Answer:
    """GET roleAssignments; a filter on principalId or roleDefinitionId cuts the list."""
    wanted = context.query.filter
    found = [each for each in context.tenant.role_assignments.values() if is_active(each, context.now)]
    if wanted is not None:
        reader = ROLE_ASSIGNMENT.reader(wanted.properties, None)
        found = [assignment for assignment in found if wanted.accepts(reader(assignment))]
    columns = ROLE_ASSIGNMENT.columns(context.query.select, None)

    def write(assignment: RoleAssignment) -> dict[str, Any]:
        return {**row(columns, assignment), **expanded(context, assignment.principal_id, assignment.role_definition_id)}

    return page(context, ASSIGNMENTS + selection(context), scan_list(found), write)


def _assignment(context: Context) -> RoleAssignment:
    identifier = context.key("unifiedRoleAssignment-id")
    found = context.tenant.role_assignments.get(identifier)
    if found is None or not is_active(found, context.now):
        raise not_found(identifier)
    return found


def get_assignment(context: Context) -> Answer:
    """GET roleAssignments/{id}; raises GraphError (404) when there is none."""
    assignment = _assignment(context)
    answer = entity(context, ASSIGNMENTS, ROLE_ASSIGNMENT, assignment)
    return Answer(
        document={**(answer.document or {}), **expanded(context, assignment.principal_id, assignment.role_definition_id)}
    )


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"A value is required for property '{name}' of resource 'RoleAssignment'.")
    return value


def read_assignee(body: Any) -> tuple[str, str]:
    """Return the role's id and the principal's that a request for a tenant-wide assignment names.

    Raises GraphError (400) for a body that has not both, or another scope.
    """
    if not isinstance(body, dict):
        raise malformed(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format."
        )
    role_id, principal_id = _text(body, "roleDefinitionId").lower(), _text(body, "principalId").lower()
    scope = body.get("directoryScopeId")
    if scope != "/":
        raise bad_request(
            "Only the directory scope '/' is simulated." if scope else "A directory or application scope is required."
        )
    return role_id, principal_id


def create_assignment(context: Context) -> Answer:
    """POST roleAssignments (learn.microsoft.com/graph/api/rbacapplication-post-roleassignments).

    Raises GraphError: 404 for an unknown principal or role, 400 for an assignment that is there already.
    """
    role_id, principal_id = read_assignee(context.body)
    if role_id not in set(Role):
        raise not_found(role_id)
    try:
        assignment = assign(context.tenant, Role(role_id), principal_id, context.now, context.settings.role_delay)
    except UnknownPrincipalError:
        raise not_found(principal_id) from None
    except AlreadyAssignedError:
        raise bad_request(_CONFLICT) from None
    document = {"@odata.context": context.metadata(f"{ASSIGNMENTS}/$entity")}
    return Answer(201, document | row(ROLE_ASSIGNMENT.columns((), None), assignment))


def delete_assignment(context: Context) -> Answer:
    """DELETE roleAssignments/{id}: 204; raises GraphError (404) when there is none."""
    take_back(context.tenant, _assignment(context).id)
    return Answer(204)
