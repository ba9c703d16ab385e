"""Users."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from local.microsoft365.graph.collections import Scan, entity, list_page
from local.microsoft365.graph.context import Answer, Context
from local.microsoft365.graph.errors import not_found
from local.microsoft365.graph.shapes import USER
from local.microsoft365.population import User, UserDirectory

# A filter that demands one of these names a user whom the directory finds without looking at all others.
_INDEXED = ("id", "userPrincipalName", "mail")


def _one(users: UserDirectory, name: str) -> Scan[User]:
    user = users.find(name)
    return lambda start: [] if user is None or start > 0 else [(0, user)]


def _scan(users: UserDirectory, demands: Mapping[str, object]) -> Callable[[int], Iterable[tuple[int, User]]]:
    name = next((demands[key] for key in _INDEXED if isinstance(demands.get(key), str)), None)
    return users.scan if name is None else _one(users, str(name))


def list_users(context: Context) -> Answer:
    """GET /users (learn.microsoft.com/graph/api/user-list): 100 a page, up to 999 with `$top`."""
    demands = context.query.filter.demands if context.query.filter is not None else {}
    users = context.tenant.users
    return list_page(context, "users", USER, _scan(users, demands), total=len(users))


def get_user(context: Context) -> Answer:
    """GET /users/{id or userPrincipalName}; raises GraphError (404) when there is none."""
    name = context.key("user-id")
    user = context.tenant.users.find(name)
    if user is None or name.lower() not in {user.id.lower(), user.user_principal_name.lower()}:
        raise not_found(name)
    return entity(context, "users", USER, user)
