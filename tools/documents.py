"""Writes the documents that come from the code: files of docs/ and the README's settings table.

usage: python -m tools.documents [--check]    --check changes nothing and fails when a document is not what the code says
"""

import json
import sys
from pathlib import Path

from shared.domain.problems import CATALOGUE
from shared.domain.steps import STEPS, StepDefinition
from shared.messages import MODELS
from shared.settings import Settings, setting_name
from shared.web.access import AUDIENCES
from shared.web.openapi import OPERATIONS, document
from shared.web.site import STATUS
from tools import microsoft_documents, preflight_documents

PROJECT = Path(__file__).parents[1]
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"

MESSAGES_HEAD = """# Messages

Every work queue takes JSON messages, base64-encoded as the queue trigger expects. A message of a wrong shape or of a newer version is kept whole
in the `deadletters` table with its reason; where it names a grant, it becomes that grant's problem. Made by `make docs` from
`shared/messages.py`.

| queue | messages |
|---|---|
| `console-commands` | the commands of the console and of the product, and `step.nudge` of the consents |
| `role-assignments`, `mail-flow-changes`, `directory-syncs`, `verifications` | `step.nudge` |
| `mail-probes` (out) | orders of test messages, for the product's prober; what its scanner saw comes back as `probe.report` |
| `grant-events` (out) | CloudEvents 1.0, one for each audit event, in order within a grant; an id that was seen before is a repetition |
"""

STEPS_HEAD = """# Steps

The steps of a grant, from `shared/domain/steps.py` (made by `make docs`). A retry waits the first delay, then twice as long each time up to the longest.
What failed because a service was down or throttled waits up to a quarter longer or shorter, so that tenants do not come back together; a
`Retry-After` of Microsoft is never cut short.

What repeats begins by itself again after it was done, or when it needed somebody and nobody came; a person may have it done at any time with the
command `step.retry`. A grant is complete without it, a paused grant has it still, and one that is removed or released has it no more. `access_watch`
begins with the grant's completion and looks again a day after each look. `daily_sync` has its own moment of the day for each tenant, made from a hash
of the tenant's id, so that the syncs of all tenants spread evenly over 24 hours (UTC). Because the first sync has just been done when its turn comes
first, it does not begin then: it is `done` from the start, with the next moment that is at least 6 hours away as its clock, and has no end
(`finished_at`) before that. After every sync the next one is at the tenant's next moment at least 6 hours later, also when it was asked for by hand.
No run of `daily_sync` begins beside one of `directory_sync`, nor the reverse: the later one waits for the other's run.

| step | what | requires | queue | begun by | first delay | longest | given up after | repeats |
|---|---|---|---|---|---|---|---|---|
"""

API_HEAD = """# The JSON API

What the console does, for programs, under `/api/v1`. Made by `make docs` from `shared/web/openapi.py`; `GET /api/v1/openapi.json` and
[openapi.json](openapi.json) describe every shape (OpenAPI 3.1).

- **Signing in.** App Service Authentication takes a Microsoft Entra access token for the console's registration (`Authorization: Bearer ...`) and
  tells Grantline whom it found; the account or application needs one of the registration's app roles. The browser that used a grant's
  onboarding link is known by its cookie, for that grant alone. Locally everyone is an administrator.
- **401 or 403.** A 401 must name a way to sign in (RFC 9110, 15.5.2). There is one, so whoever shows no sign-in at all gets 401 with
  `WWW-Authenticate: Bearer` (RFC 6750), and client libraries fetch a token. Whoever is signed in without the role gets 403: another token
  would change nothing. Pages answer 403 to both, because a browser can't use a Bearer challenge.
- **Creating and changing.** Every POST needs the header `Idempotency-Key`: 1 to 64 of `A-Z a-z 0-9 . _ -`, in quotation marks or not. Sent again,
  the same request is done once and answered with the grant as it is by then. The key of another request is 422. A key counts within its account
  when a grant is started, and within its grant for everything else; keys are kept as long as the grant.
- **Lists** hold up to `count` items (50, at most 100) and `next`, to be given as `after`; the last page has none. A page costs one storage request
  however many accounts there are. It may be shorter than asked for and not the last one, when a long `name` narrows it.
- **Live state.** Every GET carries a strong `ETag`; with `If-None-Match` it is 304 until something changes. Nothing is kept back by caches
  (`Cache-Control: private, no-cache`).
- **Errors** are problem details (RFC 9457), whatever goes wrong; a path or method that is none of these is the functions host's own empty 404.
  With 400, `errors` names everything that is wrong with the request and where; with 409, `grant` is the path of the grant in the way.
- **No browser of another site** can use the API: it takes JSON alone, and where an `Origin` is sent it must be the console's.

| operation | | for | what |
|---|---|---|---|
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
        f"| {step.person.replace('_', ' ') if step.person else 'Grantline'} | {step.retry_first} | {step.retry_cap} | {step.give_up} | {_repeats(step)} |\n"
        for step in STEPS.values()
    )
    return STEPS_HEAD + "".join(rows)


def _repeats(step: StepDefinition) -> str:
    """Return in words when a step is done again by itself."""
    if step.own_moment_after is not None:
        return f"daily, at the tenant's moment, at least {step.own_moment_after} after the last"
    return f"{step.repeats} after the last" if step.repeats else "-"


def api() -> str:
    """Return docs/api.md."""
    operations = (
        f"| `{each.function}` | `{each.method.upper()} /api/v1{each.path}` | {_audience(each.function)} | {each.summary} |\n"
        for each in OPERATIONS
    )
    codes = sorted({code for each in OPERATIONS for code in each.codes}, key=lambda code: (STATUS.get(code, 400), code))
    problems = (f"| {STATUS.get(code, 400)} | `{code}` | {CATALOGUE[code].cause} | {CATALOGUE[code].fix} |\n" for code in codes)
    return f"{API_HEAD}{''.join(operations)}\n| status | code | cause | what to do |\n|---|---|---|---|\n{''.join(problems)}"


def _audience(function: str) -> str:
    audience = AUDIENCES[function]
    role = audience.role.rpartition(".")[2] if audience.role else "anyone"
    return f"{role}, link holder" if audience.link_holder else role


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
        PROJECT / "docs" / "api.md": api(),
        PROJECT / "docs" / "openapi.json": f"{json.dumps(document(), indent=2)}\n",
        PROJECT / "docs" / "permissions.md": microsoft_documents.permissions(),
        PROJECT / "docs" / "errors.md": microsoft_documents.errors(),
        PROJECT / "docs" / "preflight.md": preflight_documents.preflight(),
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
