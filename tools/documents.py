"""Writes the documents that come from the code: docs/messages.md, docs/steps.md and the README's settings table.

usage: python -m tools.documents [--check]    --check changes nothing and fails when a document is not what the code says
"""

import json
import sys
from pathlib import Path

from shared.domain.steps import STEPS
from shared.messages import MODELS
from shared.settings import Settings, setting_name

PROJECT = Path(__file__).parents[1]
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

MESSAGES_HEAD = """# Messages

Every work queue takes JSON messages, base64-encoded as the queue trigger expects. A message of a wrong shape or of a newer version is kept whole
in the `deadletters` table with its reason; where it names a grant, it becomes that grant's problem. Made by `make docs` from
`shared/messages.py`.

| queue | messages |
|---|---|
| `console-commands` | `grant.start`, `step.retry`, `role_mode.choose`, and `step.nudge` of the consents |
| `role-assignments`, `mail-flow-changes`, `directory-syncs`, `verifications` | `step.nudge` |
| `grant-events` (out) | CloudEvents 1.0, one for each audit event, in order within a grant; an id that was seen before is a repetition |
"""

STEPS_HEAD = """# Steps

The steps of a grant, from `shared/domain/steps.py` (made by `make docs`). A retry waits the first delay, then twice as long each time up to the longest.

| step | what | requires | queue | begun by | first delay | longest | given up after |
|---|---|---|---|---|---|---|---|
"""


def messages() -> str:
    """Return docs/messages.md."""
    parts = [MESSAGES_HEAD]
    for name, model in MODELS.items():
        schema = json.dumps(model.model_json_schema(), indent=2)
        parts.append(f"\n## {name}\n\n{model.__doc__}\n\n```json\n{schema}\n```\n")
    return "".join(parts)


def steps() -> str:
    """Return docs/steps.md."""
    rows = (
        f"| `{step.name}` | {step.title} | {', '.join(f'`{name}`' for name in step.requires) or '-'} | `{step.queue}` "
        f"| {step.person.replace('_', ' ') if step.person else 'Grantline'} | {step.retry_first} | {step.retry_cap} | {step.give_up} |\n"
        for step in STEPS.values()
    )
    return STEPS_HEAD + "".join(rows)


def readme(text: str) -> str:
    """Return the README with its settings table as the code has it."""
    rows = ["| app setting | needed | meaning |\n|---|---|---|\n"]
    for name, field in Settings.model_fields.items():
        needed = (
            "yes, or `AzureWebJobsStorage__accountName`"
            if name == "storage_connection"
            else "yes"
            if field.is_required()
            else f"default `{field.default}`"
            if field.default not in (None, "")
            else "no"
        )
        rows.append(f"| `{setting_name(name)}` | {needed} | {field.description} |\n")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{''.join(rows)}{END}{after}"


def documents() -> dict[Path, str]:
    """Return every document with what it must hold."""
    return {
        PROJECT / "docs" / "messages.md": messages(),
        PROJECT / "docs" / "steps.md": steps(),
        PROJECT / "README.md": readme((PROJECT / "README.md").read_text()),
    }


def main() -> int:
    """Write the documents, or check them."""
    stale = [path for path, text in documents().items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv:
        for path in stale:
            print(f"{path.relative_to(PROJECT)} is not what the code says: run make docs", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(documents()[path])
        print(f"wrote {path.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
