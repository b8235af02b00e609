"""Documents of the benchmark: short in the README, complete in docs/benchmark.md.

results of `whole_suite` ──┬── summary.main_attacks, honest_cost ──> README.md, between its markers
                           ├── summary, full_tables ──> docs/benchmark.md, between its markers
                           └── pair_tables, after `--pairs` ──> docs/explanation/recommendations.md, the same

README.md and docs/benchmark.md carry `<!-- attack table -->` and `<!-- /attack table -->`. People write the rest of
these documents, and it stays as it is.
"""

from collections.abc import Sequence
from pathlib import Path

from recommender.lab.attack.report import full_tables, kept_promises, pair_tables, summary
from recommender.lab.attack.report.markdown import header, row
from recommender.lab.attack.trials.whole_suite import LogResult

OPEN, CLOSE = "<!-- attack table -->", "<!-- /attack table -->"
OPEN_PAIRS, CLOSE_PAIRS = "<!-- pair table -->", "<!-- /pair table -->"


def readme(found: Sequence[LogResult]) -> str:
    """Write the short table of the README and one line of honest cost."""
    return "\n".join([summary.main_attacks(found), summary.honest_cost(found)])


def benchmark(found: Sequence[LogResult], *, how: str) -> str:
    """Write all tables of docs/benchmark.md: first all logs together, then log by log.

    how: command, logs, seed, time and machine, as `describe` words them.
    """
    parts = [together(found, how=how)]
    for each in found:
        parts += [f"## {each.name}\n", _sizes(each), full_tables.of_log(each)]
    return "\n".join(parts)


def together(found: Sequence[LogResult], *, how: str) -> str:
    """Write the tables of all logs together, and their source."""
    parts = [
        f"Made by {how} The raw results are in `out/attack`, one JSON object per run.\n",
        "## All logs together\n",
        summary.by_attack(found),
        "### Promises\n",
        promises(found),
        summary.rest(found),
    ]
    return "\n".join(part for part in parts if part)


def promises(found: Sequence[LogResult]) -> str:
    """Write the list of `kept_promises` as a table."""
    lines = [
        "m\\* is the margin: no attack with fewer new accounts can take the place. Each promise is judged on the"
        " worst log, or on the runs of all logs together.\n",
        *header("promise", "target", "measured", "verdict", n_text=4),
    ]
    lines += [row([line.what, line.target, line.measured, line.verdict]) for line in kept_promises.evaluate(found)]
    return "\n".join(lines) + "\n"


def pairs(found: Sequence[LogResult], *, how: str) -> str:
    """Write the tables of docs/explanation/recommendations.md."""
    return "\n".join([*(pair_tables.section(each.pairs) for each in found), f"Made by {how}"])


def describe(found: Sequence[LogResult], *, command: str, n_starts: int, seed: int, took_s: float, cores: int) -> str:
    """Say in one sentence where the figures come from."""
    logs = " and ".join(f"{each.name} ({each.n_events:,} events)" for each in found)
    runs = sum(len(each.records) + len(each.pairs) for each in found)
    return (
        f"`{command}` on {logs}: {runs:,} runs, {n_starts} start time{'s' * (n_starts != 1)} per log, seed {seed},"
        f" {took_s / 60:.1f} min on {cores} cores."
    )


def write_between(path: Path, text: str, *, markers: tuple[str, str] = (OPEN, CLOSE)) -> None:
    """Replace the text between two markers of a document.

    Raises ValueError if a marker is missing, or if they are in the wrong order.
    """
    whole = path.read_text()
    start, end = (whole.find(marker) for marker in markers)
    if start < 0 or end < start:
        raise ValueError(f"{path} has no {markers[0]} followed by {markers[1]}. Add both lines to it.")
    path.write_text(f"{whole[: start + len(markers[0])]}\n{text.strip()}\n{whole[end:]}")


def _sizes(found: LogResult) -> str:
    spent = ", ".join(f"{kind} {took_s:,.0f} s" for kind, took_s in found.took_s.items())
    return f"{found.n_events:,} events, {len(found.records):,} runs. CPU time: {spent or 'not measured'}.\n"
