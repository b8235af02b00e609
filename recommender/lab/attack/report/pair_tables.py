"""Attacks on the items shown next to an item, as Markdown.

Pure: records of `pair_trials` go in, text comes out.
"""

from collections.abc import Sequence
from typing import Any

from recommender.lab.attack.report.markdown import header, row
from recommender.lab.attack.trials.pair_trials import BUDGETS, FIRST, MARGINS
from recommender.lab.attack.trials.single_run import SERVED

TITLES = {"links": "no defence", "caps": "caps only", "trust": "caps + trust", "full": "Groundswell"}

Record = dict[str, Any]


def section(records: Sequence[Record]) -> str:
    """Write the tables by defence and budget, and by margin. Empty without runs."""
    if not records:
        return ""
    return "\n".join([_by_budget(records), _by_margin(records)])


def _by_budget(records: Sequence[Record]) -> str:
    lines = [
        f"Attacks A5 and A6 on the {SERVED} items shown next to a popular item, by number of new accounts. A cell"
        " gives two figures. The first counts the runs in which the target is among these items for a minute or more,"
        " and would not be there without the attack. The second is a share of the readers who opened the popular item"
        f" during the run. It counts those who were shown the target in their first {SERVED} recommendations.\n",
        *header("defence", *(f"{n} accounts" for n in BUDGETS)),
    ]
    for name, title in TITLES.items():
        mine = [record for record in records if record["defence"] == name and record["unit"] == "accounts"]
        if mine:
            lines.append(row([title, *(_told([r for r in mine if r["multiple"] == n]) for n in BUDGETS)]))
    return "\n".join(lines) + "\n"


def _by_margin(records: Sequence[Record]) -> str:
    lines = [
        f"The same, by budget in multiples of the defence's own margin for the {SERVED}th place. A run is below the"
        " margin if it has fewer accounts than the least margin during the run. Violations are seconds, over all"
        f" runs, in which a place of the first {SERVED} or {FIRST} was taken with fewer accounts than its price.\n",
        *header(
            "defence",
            *(f"{multiple:g}" for multiple in MARGINS),
            "runs below the margin",
            "of them succeed",
            "violations, s",
        ),
    ]
    for name, title in TITLES.items():
        mine = [record for record in records if record["defence"] == name and record["violations"] is not None]
        if not mine:
            continue
        priced = [record for record in mine if record["unit"] == "margin"]
        below = [record for record in mine if record["is_below_margin"]]
        lines.append(
            row(
                [
                    title,
                    *(_told([r for r in priced if r["multiple"] == multiple]) for multiple in MARGINS),
                    str(len(below)),
                    str(sum(record[f"success{SERVED}"] for record in below)),
                    str(sum(record["violations"] for record in mine)),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _told(records: Sequence[Record]) -> str:
    if not records:
        return "-"
    won = sum(record[f"success{SERVED}"] for record in records)
    readers, shown = (sum(record[key] for record in records) for key in ("readers", "shown"))
    return f"{won} of {len(records)} / " + (f"{100 * shown / readers:.0f} %" if readers else "-")
