"""Users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from local.microsoft365.graph.collections import Scan, entity, list_page, scan_list
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import not_found
from local.microsoft365.graph.filters import Filter
from local.microsoft365.graph.shapes import USER
from local.microsoft365.population import User, UserDirectory

# A filter that demands one of these names users whom the directory finds without looking at all others.
_INDEXED = ("id", "userPrincipalName", "mail")


def _names(alternatives: Iterable[Mapping[str, object]]) -> list[str] | None:
    """Return the names that users must have one of; None where the filter names nobody."""
    names = [next((each[key] for key in _INDEXED if isinstance(each.get(key), str)), None) for each in alternatives]
    return None if None in names else [str(name) for name in names]


def _scan(users: UserDirectory, wanted: Filter | None) -> Scan[User]:
    names = _names(wanted.alternatives) if wanted is not None else None
    if names is None:
        return lambda start: users.scan(start if isinstance(start, int) else 0)
    found = {user.id: user for user in map(users.find, names) if user is not None}
    return scan_list(list(found.values()))


def list_users(context: Context) -> Answer:
    """GET /users (learn.microsoft.com/graph/api/user-list): 100 a page, up to 999 with `$top`."""
    users = context.tenant.users
    return list_page(context, "users", USER, _scan(users, context.query.filter), total=len(users))


def get_user(context: Context) -> Answer:
    """GET /users/{id or userPrincipalName}; raises GraphError (404) when there is none."""
    name = context.key("user-id")
    user = context.tenant.users.find(name)
    if user is None or name.lower() not in {user.id.lower(), user.user_principal_name.lower()}:
        raise not_found(name)
    return entity(context, "users", USER, user)
