"""The pages that a person sees at sign-in and consent: plain forms, without script."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def render(template: str, **values: Any) -> str:
    """A page of this folder, filled in; values are escaped."""
    return _environment().get_template(template).render(**values)
