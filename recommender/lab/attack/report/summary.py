"""The README's summary: who stops which attack, what a place costs by which rule, what honest crowds pay, and what is
not stopped. Runs of all logs together; the full tables are in docs/benchmark.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recommender.lab.attack.catalogue.all_attacks import ATTACKS, CATALOGUE
from recommender.lab.attack.report import pair_tables
from recommender.lab.attack.report.markdown import header, row
from recommender.lab.attack.trials.honest_cost import LATE_S
from recommender.lab.attack.trials.measured_prices import RULES
from recommender.lab.attack.trials.whole_suite import LogResult

COLUMNS = {
    "none": "no defence",
    "caps": "caps alone",
    "forest": "forest alone",
    "trust": "caps + trust",
    "full": "everything",
    "oracle": "oracle",
}
MOST_PRICES = 2.0
PRICED = ("raw", "ratio", "capped", "trusted")
OPEN_ATTACKS = ("A9", "A10", "A11", "A14")
CROWDS = ("B1", "B2")

Record = dict[str, Any]


def by_attack(found: Sequence[LogResult]) -> str:
    """Successful runs by attack and defence: at up to twice the undefended price, and above it."""
    records = [record for each in found for record in each.records if record["goal"] != "benign"]
    names = [name for name in COLUMNS if any(record["defence"] == name for record in records)]
    if not records:
        return ""
    lines = [
        "Runs in which an attack succeeds (its target stands in the first ten for a minute or more and would not have"
        " without; A10, A16, A17: an honest item is off the list), at up to twice the undefended price / above it."
        " The price is the number of new accounts an undefended list asks for its tenth place. Above it everything"
        " also meets attackers with multiples of its own, higher margin, and some who watch the list or the scores:"
        " columns are to be compared before the stroke.\n",
        *header("attack", *(COLUMNS[name] for name in names)),
    ]
    for code in ATTACKS:
        mine = [record for record in records if record["attack"] == code]
        if mine:
            cells = [_cheap_and_dear([record for record in mine if record["defence"] == name]) for name in names]
            lines.append(row([f"{code} {CATALOGUE[code].TITLE}", *cells]))
    cells = [_cheap_and_dear([record for record in records if record["defence"] == name]) for name in names]
    lines.append(row(["all", *cells]))
    return "\n".join(lines) + "\n"


def rest(found: Sequence[LogResult]) -> str:
    """Prices, honest crowds, and what is not stopped."""
    beside = pair_tables.section([record for each in found for record in each.pairs])
    return "\n".join(part for part in (prices(found), beside, crowds(found), not_stopped(found)) if part)


def prices(found: Sequence[LogResult]) -> str:
    """New accounts for the tenth and the first place under four rules; medians over starts, by log."""
    priced = [each for each in found if each.prices]
    if not priced:
        return ""
    titles = [f"{each.name}: top {place}" for each in priced for place in (10, 1)]
    lines = [
        "The price of a place: new accounts that put an item nobody has read into the first ten, and to the top,"
        " found by trying (median over starts).\n",
        *header("ranking", *titles),
    ]
    for rule in PRICED:
        cells = []
        for each in priced:
            for place in ("top10", "top1"):
                known = [p[place] for moment in each.prices for p in moment if p["rule"] == rule and p[place]]
                text = f"{np.median(known):,.0f}" if known else "-"
                cells.append(f"1, with {text} clicks" if rule == "raw" and known else text)
        lines.append(row([RULES[rule], *cells]))
    return "\n".join(lines) + "\n"


def crowds(found: Sequence[LogResult]) -> str:
    """Flash crowd and influencer's link: how many come late to the place they would have, what they lose."""
    records = [r for each in found for r in each.records if r["attack"] in CROWDS and r["defence"] == "full"]
    if not records:
        return ""
    lines = [
        f"Honest crowds that look like attacks, everything on: runs in which the item comes more than {LATE_S} s"
        " late, or never, to the place it has without any defence, and to the one it has without the screen; the"
        " crowd's events lost for good.\n",
        *header("crowd", "late, trust and screen", "late, the screen's part", "events lost"),
    ]
    for code in CROWDS:
        mine = [record for record in records if record["attack"] == code]
        if mine:
            totals = [record["verdicts"]["injected"] for record in mine]
            lost = sum(each["quarantined"] for each in totals) / max(1, sum(each["events"] for each in totals))
            late = [_late(mine, key) for key in ("delay_s", "delay_by_screen_s")]
            lines.append(row([f"{code} {CATALOGUE[code].TITLE}", *late, f"{100 * lost:.1f} %"]))
    return "\n".join(lines) + "\n"


def not_stopped(found: Sequence[LogResult]) -> str:
    """What happens with attacks that no list of counts can tell from readers."""
    records = [r for each in found for r in each.records if r["defence"] == "full" and r["attack"] in OPEN_ATTACKS]
    lines = [
        f"- {CATALOGUE[code].TITLE} ({code}): {_fate(code, [r for r in records if r['attack'] == code])}"
        for code in OPEN_ATTACKS
        if any(record["attack"] == code for record in records)
    ]
    return "\n".join(["What is left, against everything:\n", *lines]) + "\n" if lines else ""


def _cheap_and_dear(records: Sequence[Record]) -> str:
    cheap = [r for r in records if r["unit"] == "price" and r["variant"] == "plain" and r["multiple"] <= MOST_PRICES]
    dear = [record for record in records if record not in cheap]
    return " / ".join(f"{sum(r['success'] for r in part)} of {len(part)}" if part else "-" for part in (cheap, dear))


def _late(records: Sequence[Record], key: str) -> str:
    due = [record[key]["same"] for record in records if "same" in (record.get(key) or {})]
    late = sum(each is None or each > LATE_S for each in due)
    return f"{late} of {len(due)}"


def _fate(code: str, records: Sequence[Record]) -> str:
    won = sum(record["success"] for record in records)
    if code == "A10":
        longest = max(record["false_s"] for record in records)
        return (
            f"its victim is off the list for a minute or more in {won} of {len(records)} runs, {longest} s at most."
        )
    least = [record["accounts_used"] for record in records if record["success"]]
    below = [record for record in records if record["is_below_margin"]]
    text = f"{won} of {len(records)} runs succeed"
    text += f", the cheapest with {min(least):,} accounts" if least else ""
    counted = "at full trust each" if code in ("A9", "A14") else "as new accounts"
    n_below = sum(record["success"] for record in below)
    return f"{text}; below the margin ({counted}) {n_below} of {len(below)}."
