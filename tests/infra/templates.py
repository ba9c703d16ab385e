"""Reads the Bicep files for the tests: two independent parsers, since the Bicep compiler itself is not on PyPI."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter
import tree_sitter_bicep
from pycep import BicepParser

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "infra"
FILES = sorted(FOLDER.glob("*.bicep"))

Node = Mapping[str, Any]


@cache
def template(name: str) -> Node:
    """Return one Bicep file as pycep-parser's dictionary."""
    parsed: Node = BicepParser().parse(text=(FOLDER / f"{name}.bicep").read_text())
    return parsed


def has_syntax_error(path: Path) -> bool:
    """Tell whether tree-sitter's grammar of Bicep finds an error in a file."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bicep.language()))
    return parser.parse(path.read_bytes()).root_node.has_error


def variable(name: str, of: str) -> Any:
    """Return the value of a variable of a file."""
    return template(of)["variables"][name]["value"]


def config(resource: str, of: str) -> Node:
    """Return what a resource or module of a file is given; of a loop or a condition, what each one is given."""
    parts = template(of)
    node: Node = {**parts.get("resources", {}), **parts.get("modules", {})}[resource]["config"]
    inner: Node = node.get("config", node)
    return inner


def resources() -> Iterator[tuple[str, str, Node]]:
    """Yield every resource that is made (not only looked up): file, name, node."""
    for path in FILES:
        for name, node in template(path.stem).get("resources", {}).items():
            if not node["existing"]:
                yield path.stem, name, node


def keys(node: object) -> Iterator[str]:
    """Yield every property name in a value, however deep."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield name
            yield from keys(value)
    elif isinstance(node, list):
        for value in node:
            yield from keys(value)
