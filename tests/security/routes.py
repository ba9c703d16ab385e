"""The HTTP functions as they stand in functions/: name, address, method and view, read from the code itself."""

import ast
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from shared.web.site import View

FUNCTIONS = Path(__file__).parents[2] / "functions"


@dataclass(frozen=True, slots=True)
class Route:
    """One HTTP function: the view is what it hands to the front door."""

    name: str
    method: str
    address: str
    view: View

    def path(self, **values: str) -> str:
        """Return the path of a request, with values in the place of the address's parameters."""
        return f"/{self.address.format_map(values)}"

    @property
    def is_api(self) -> bool:
        """True for what programs ask."""
        return self.address.startswith("api/")


def _read() -> Iterator[Route]:
    for path in sorted(FUNCTIONS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.AsyncFunctionDef):
                yield from _route(node)


def _route(node: ast.AsyncFunctionDef) -> Iterator[Route]:
    """Yield the route of a function with the decorator ``route``, if it is one."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(".route"):
            values = {each.arg: ast.literal_eval(each.value) for each in decorator.keywords}
            calls = (each for each in ast.walk(node) if isinstance(each, ast.Call) and ast.unparse(each.func) == "reply")
            name, _, view = next(calls).args
            module, attribute = ast.unparse(view).split(".")
            found = getattr(importlib.import_module(f"shared.web.{module}"), attribute)
            yield Route(ast.literal_eval(name), values["methods"][0], values["route"], cast("View", found))


ROUTES: Mapping[str, Route] = {route.name: route for route in _read()}
"""Every HTTP function by its name."""
