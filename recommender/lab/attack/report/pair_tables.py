"""What stands beside an item under attack, as Markdown. Pure: records of `pair_trials` in, a section out."""

from collections.abc import Sequence
from typing import Any

from recommender.lab.attack.report.markdown import header, row
from recommender.lab.attack.trials.pair_trials import BUDGETS, FIRST, MARGINS
from recommender.lab.attack.trials.single_run import SERVED

TITLES = {"links": "no defence", "caps": "caps alone", "trust": "caps and trust", "full": "everything"}

Record = dict[str, Any]


def section(records: Sequence[Record]) -> str:
    """Runs that succeed and readers shown the target, by defence and budget; then by margin. Empty without runs."""
    if not records:
        return ""
    return "\n".join([_by_budget(records), _by_margin(records)])


def _by_budget(records: Sequence[Record]) -> str:
    lines = [
        f"Beside an item (A5, A6): runs in which the target stands among the first {SERVED} items beside a popular"
        " one for a minute or more and would not have without / of the readers who opened that item meanwhile, those"
        f" who were shown the target in their first {SERVED} recommendations. By new accounts.\n",
        *header("defence", *(f"{n} accounts" for n in BUDGETS)),
    ]
    for name, title in TITLES.items():
        mine = [record for record in records if record["defence"] == name and record["unit"] == "accounts"]
        if mine:
            lines.append(row([title, *(_told([r for r in mine if r["multiple"] == n]) for n in BUDGETS)]))
    return "\n".join(lines) + "\n"


def _by_margin(records: Sequence[Record]) -> str:
    lines = [
        f"The same in multiples of the defence's own margin for the {SERVED}th place. Below it: runs with fewer"
        " accounts than the least margin while they lasted, those of them that succeed, and seconds in which a place"
        f" (of the first {SERVED} or {FIRST}) was taken below its price, all runs.\n",
        *header("defence", *(f"{multiple:g}" for multiple in MARGINS), "below", "of them succeed", "violations s"),
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
