"""tools/browsers.py: what it takes for a browser, what it tries where none is, and what it says when nothing helps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tools import browsers
from tools.browsers import Part

SENTENCE = (
    "The browser tests need Chromium (Debian's package chromium, or `python -m playwright install --with-deps chromium`)"
    " and NSS's certutil (Debian's package libnss3-tools, Fedora's nss-tools)."
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Give a machine without programs, and a way to put a shell script among them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browsers, "_playwrights_own", lambda: tmp_path / "playwright" / "chrome")

    def put(name: str, script: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return put


@pytest.mark.usefixtures("programs")
def test_without_both_one_sentence_names_both() -> None:
    """A person reads once what is to be installed."""
    assert browsers.missing() == SENTENCE


def test_with_both_nothing_is_missing(programs: Callable[[str, str], Path]) -> None:
    """Nothing is said, and nothing installed, where both are there."""
    chromium = programs("chromium", "echo Chromium 150.0.1.2")
    certutil = programs("certutil", "exit 1")

    assert (browsers.chromium(), browsers.certutil(), browsers.missing()) == (chromium, certutil, "")


@pytest.mark.parametrize("script", ["exit 127", "echo 'install the snap to have chromium'", "echo Chromium; exit 1"])
def test_a_browser_that_does_not_start_is_none(programs: Callable[[str, str], Path], script: str) -> None:
    """What lacks its libraries, or is a mere hint to install a browser, is passed over for the next."""
    programs("chromium", script)
    chrome = programs("google-chrome", "echo Google Chrome 150.0.1.2")

    assert browsers.chromium() == chrome


def test_one_way_after_the_other_is_tried_until_one_helps(programs: Callable[[str, str], Path]) -> None:
    """The first way fails, the second installs, the third is not tried."""
    tried: list[str] = []

    def way(name: str, *made: str) -> Callable[[], None]:
        def attempt() -> None:
            tried.append(name)
            for program in made:
                programs(program, "echo Chromium 150.0.1.2")

        return attempt

    ways = (way("first"), way("second", "chromium"), way("third"))
    browsers.install(Part("Chromium", browsers.chromium, ways, "Chromium"))

    assert tried == ["first", "second"]


@pytest.mark.usefixtures("programs")
def test_nothing_helps_and_nothing_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing can be installed the command says so, and the other tests go on."""
    monkeypatch.setattr(browsers, "PLAYWRIGHT", ("no-such-program",))

    assert browsers.main() == 0
    assert capsys.readouterr().err == f"{SENTENCE} Without it they are skipped.\n"
