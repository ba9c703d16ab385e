"""docs/mail-flow.md says what the code makes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from shared.mailflow.desired import desired_objects
from shared.mailflow.kinds import NEEDED_CMDLETS

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def tool() -> ModuleType:
    """Load the generator, which is no package."""
    spec = importlib.util.spec_from_file_location("mail_flow_docs", ROOT / "tools" / "mail_flow_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_as_the_data_say(tool: ModuleType) -> None:
    """The committed page is exactly what the generator writes."""
    assert tool.main(["--check"]) == 0


def test_a_changed_page_is_told(tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is missing or was edited by hand fails the check; writing it anew puts it right."""
    page = tmp_path / "docs" / "mail-flow.md"
    monkeypatch.setattr(tool, "TARGET", page)
    assert tool.main(["--check"]) == 1
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("Defer", "Ignore"), encoding="utf-8")

    assert tool.main(["--check"]) == 1


def test_every_object_property_and_cmdlet_is_told(tool: ModuleType) -> None:
    """Names and settings of all objects of every scope stand on the page, and every cmdlet."""
    text = tool.render()
    objects = [item for scope in tool.SCOPES for item in desired_objects(tool.example(scope))]

    assert all(f"### {item.name}\n" in text for item in objects)
    assert all(f"`{cmdlet}`" in text for cmdlet in NEEDED_CMDLETS)
    assert "<verdict secret of the grant>" in text


def test_variants_options_and_both_orders_are_told(tool: ModuleType) -> None:
    """The outbound rule of the other variant, what is added to others' lists, and application and removal from end to end."""
    text = tool.render()
    variant = text.partition("## Outbound variants")[2].partition("## Settings of others")[0]
    applied = text.partition("## Order of application")[2].partition("## Order of removal")[0]
    removed = text.partition("## Order of removal")[2].partition("## Checks")[0]

    assert "#### Grantline Inline Outbound Domain Rule" in variant
    assert "SenderDomainIs" not in variant
    assert all(f"GRANTLINE_{name}" in text for name in ("ALLOW_ENTRIES=ip`", "ALLOW_ENTRIES=spoof`", "ARC_SEALER="))
    assert applied.index("Enable-OrganizationCustomization`:") < applied.index("New-InboundConnector")
    assert applied.rindex("New-InboundConnector") < applied.index("Set-ArcConfig") < applied.index("New-TransportRule")
    assert applied.rindex("New-TransportRule") < applied.index("Enable-TransportRule")
    assert (
        removed.index("Disable-TransportRule") < removed.index("Remove-TransportRule") < removed.index("Remove-InboundConnector")
    )
    assert removed.index("Remove-InboundConnector") < removed.index("Set-ArcConfig") < removed.index("Remove-DistributionGroup")
    assert removed.index("Remove-DistributionGroup") < removed.index("Remove-OutboundConnector")
