"""Makes docs/preflight.md from the catalogue of checks and from the table of public baselines."""

from collections.abc import Iterator

from shared.mailflow.baselines import BASELINES
from shared.mailflow.checks.catalogue import CHECKS
from shared.mailflow.checks.finding import Check, FindingKind, Severity

HEAD = """# Preflight

What is checked in a tenant before anything is changed in it, what each check can find, and what helps. Made by `make docs` from
`shared/mailflow/checks`. Words in braces are those of the case.

- **blocking** stops the grant until it is put right; the step is tried again when somebody says so.
- **acknowledge** stops it until somebody has read it and acknowledges it (`finding.acknowledge` with the finding's key, `check|object`).
- **notice** stops nothing, and stands in the report with its evidence.
- **not checked** is what the tenant does not offer to the application: its role, its licences, or a consent that comes later.

A finding with a *fix* can be put right with one click (`finding.fix`): the former value is stored first, and is put back when the grant is removed.
Verification makes every check again, with what only the directory's consent lets Grantline see; what stops a grant then begins preflight anew.

"""
BASELINES_HEAD = """
## Public baselines

The other way round: checks of public security baselines that what Grantline makes turns red, told with the plan.

| baseline | check | its title | turned red by | gentler | source |
|---|---|---|---|---|---|
"""


def preflight() -> str:
    """Return docs/preflight.md."""
    contents = "".join(f"| [{check.name}](#{check.name}) | {check.title} | {_severities(check)} |\n" for check in CHECKS)
    table = f"| check | passes when | finds |\n|---|---|---|\n{contents}"
    return HEAD + table + "".join("".join(_check(check)) for check in CHECKS) + BASELINES_HEAD + "".join(_baselines())


def _severities(check: Check) -> str:
    found = sorted({kind.severity for kind in check.kinds}, key=lambda severity: severity.rank)
    return ", ".join(_plain(severity) for severity in found)


def _plain(severity: Severity) -> str:
    return severity.replace("_", " ")


def _check(check: Check) -> Iterator[str]:
    beside = f" Where the tenant has it, also {_names(check.also)}." if check.also else ""
    yield f"\n## {check.name}\n\n{check.title}. Reads {_names(check.reads)}.{beside}\n\n"
    yield "| severity | finding | evidence | remedy | fix |\n|---|---|---|---|---|\n"
    yield from map(_kind, check.kinds)


def _kind(kind: FindingKind) -> str:
    evidence = ", ".join(f"`{name}`" for name in kind.evidence)
    return f"| {_plain(kind.severity)} | {kind.cause} | {evidence} | {kind.remedy} | {kind.fix or '-'} |\n"


def _names(reads: frozenset[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(reads))


def _baselines() -> Iterator[str]:
    for each in BASELINES:
        cells = (each.suite, f"`{each.check}`", each.title, each.red_by, each.gentler, each.source)
        yield f"| {' | '.join(cells)} |\n"
