"""How values are written for a person's PowerShell."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.mailflow.lists import quoted

QUOTES = "'\u2018\u2019\u201a\u201b"
"""What PowerShell takes for a single quote."""


def read(written: str) -> str:
    """Read a text in single quotes as PowerShell does; raises AssertionError where it ends before its end."""
    assert re.fullmatch(f"'([^{QUOTES}]|[{QUOTES}]{{2}})*'", written)
    return re.sub(f"([{QUOTES}])[{QUOTES}]", r"\1", written[1:-1])


@pytest.mark.parametrize("quote", QUOTES)
def test_no_quote_ends_a_name(quote: str) -> None:
    """A name that an attacker of the tenant chose runs nothing when a person pastes the script."""
    name = f"x{quote}; Remove-Mailbox boss; {quote}"

    assert read(quoted(name)) == name


@given(st.text(alphabet=st.sampled_from(f"ab; $`\n{QUOTES}"), max_size=12))
def test_every_text_is_read_as_it_was(text: str) -> None:
    """Whatever quotes it holds, wherever they stand."""
    assert read(quoted(text)) == text


def test_other_values_are_no_texts() -> None:
    """Lists, null, true and false are written as such."""
    values: tuple[object, ...] = (("a", "b"), [], None, True, False)

    assert [quoted(value) for value in values] == ["'a','b'", "@()", "$null", "$true", "$false"]
