"""The benchmark's two documents: the summary in the README, the full tables in docs/benchmark.md.

what `whole_suite` found ──┬── summary ──> between the README's `<!-- attack table -->` and `<!-- /attack table -->`
                     ├── tables  ──> docs/benchmark.md, whole
                     └── pair_tables, where nothing else was run ──> docs/recommendations.md, between its markers
"""

from collections.abc import Sequence
from pathlib import Path

from recommender.lab.attack.report import full_tables, kept_promises, pair_tables, summary
from recommender.lab.attack.report.markdown import header, row
from recommender.lab.attack.trials.whole_suite import LogResult

OPEN, CLOSE = "<!-- attack table -->", "<!-- /attack table -->"
OPEN_PAIRS, CLOSE_PAIRS = "<!-- pair table -->", "<!-- /pair table -->"


def render(found: Sequence[LogResult], *, how: str) -> str:
    """docs/benchmark.md. how: the command, seeds, time and machine, as `describe` says them."""
    parts = [
        "# The benchmark\n",
        f"Made by {how} What is run, and what the columns mean, is in [attacks.md](attacks.md). This page is written"
        " by the command and not by hand; raw results, one JSON object a run, stay in `out/attack`.\n",
        "## Promises\n",
        promises(found),
    ]
    for each in found:
        parts += [f"## {each.name}\n", _sizes(each), full_tables.of_log(each)]
    return "\n".join(parts)


def _sizes(found: LogResult) -> str:
    spent = ", ".join(f"{kind} {took_s:,.0f} s" for kind, took_s in found.took_s.items())
    return f"{found.n_events:,} events, {len(found.records):,} runs. Time of a core: {spent}.\n"


def promises(found: Sequence[LogResult]) -> str:
    """The list of `kept_promises` as a table."""
    lines = header("promise", "target", "measured", "", n_text=4)
    lines += [row([line.what, line.target, line.measured, line.verdict]) for line in kept_promises.evaluate(found)]
    return "\n".join(lines) + "\n"


def readme(found: Sequence[LogResult], *, how: str) -> str:
    """What stands in the README."""
    return "\n".join([summary.by_attack(found), promises(found), summary.rest(found), f"Made by {how}"])


def pairs(found: Sequence[LogResult], *, how: str) -> str:
    """What stands in docs/recommendations.md."""
    return "\n".join([*(pair_tables.section(each.pairs) for each in found), f"Made by {how}"])


def describe(found: Sequence[LogResult], *, command: str, n_starts: int, seed: int, took_s: float, cores: int) -> str:
    """Where the figures come from, in one sentence or two."""
    logs = ", ".join(f"{each.name} ({each.n_events:,} events)" for each in found)
    runs = sum(len(each.records) + len(each.pairs) for each in found)
    return (
        f"`{command}`: {logs}; {runs:,} runs from {n_starts} starts in each log, seed {seed};"
        f" {took_s / 60:.1f} min on {cores} cores."
    )


def update_readme(path: Path, text: str, *, markers: tuple[str, str] = (OPEN, CLOSE)) -> None:
    """Replace what stands between the markers. Raises ValueError where they are not there, in this order."""
    whole = path.read_text()
    start, end = (whole.find(marker) for marker in markers)
    if start < 0 or end < start:
        raise ValueError(f"{path} has no {markers[0]} followed by {markers[1]}")
    path.write_text(f"{whole[: start + len(markers[0])]}\n{text.strip()}\n{whole[end:]}")
