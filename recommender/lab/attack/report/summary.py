"""Tables of all logs together: attacks, prices, honest crowds.

`main_attacks` and `honest_cost` go into the README. `by_attack` and `rest` open docs/benchmark.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from recommender.lab.attack.catalogue.all_attacks import ATTACKS, CATALOGUE
from recommender.lab.attack.report import pair_tables
from recommender.lab.attack.report.markdown import header, row
from recommender.lab.attack.trials.honest_cost import LATE_S
from recommender.lab.attack.trials.measured_prices import RULES
from recommender.lab.attack.trials.run_metrics import DISTURBED, SUCCESS_S
from recommender.lab.attack.trials.single_run import SERVED
from recommender.lab.attack.trials.whole_suite import LogResult

COLUMNS = {
    "none": "no defence",
    "caps": "caps only",
    "forest": "forest only",
    "trust": "caps + trust",
    "full": "Groundswell",
    "oracle": "oracle",
}
MAIN_ATTACKS = {
    "A1": "Flood: one account clicks over and over",
    "A3": "Botnet: a few rented networks, several clicks per account",
    "A4": "Sybil: many new accounts that act like people",
    "A5": "Co-visitation: each account opens a popular item, then the target",
    "A9": "Aged accounts: hijacked accounts with a history",
}
MOST_PRICES = 2.0
PRICED = ("raw", "ratio", "capped", "trusted")
OPEN_ATTACKS = ("A9", "A10", "A11", "A14")
CROWDS = ("B1", "B2")
ALL_TABLES = "[All tables](docs/benchmark.md)."

Record = dict[str, Any]


def main_attacks(found: Sequence[LogResult]) -> str:
    """Write the README's table: five attacks, without defence and with Groundswell.

    It counts planned attacks with at most MOST_PRICES undefended prices.
    """
    records = [record for each in found for record in each.records if _is_cheap(record)]
    lines = header("attack", "without defence", "with Groundswell")
    for code, title in MAIN_ATTACKS.items():
        mine = [record for record in records if record["attack"] == code]
        by_defence = [[record for record in mine if record["defence"] == name] for name in ("none", "full")]
        lines.append(row([title, *(f"{_won(each)} runs" if each else "-" for each in by_defence)]))
    return "\n".join(lines) + "\n"


def honest_cost(found: Sequence[LogResult]) -> str:
    """Write the line under the README's table.

    It explains a cell of the table and gives the cost for honest readers.
    """
    cost = "; ".join(each for each in map(_cost, found) if each) or "not measured in this run"
    return (
        f"Each cell counts the runs in which the target gained a top {SERVED} place for {SUCCESS_S} s or more. The"
        f" attacker had at most {MOST_PRICES:g} times the accounts that it takes to reach place {SERVED} of a list"
        f" without defence. **Cost for honest readers, without an attack:** {cost}. {ALL_TABLES}\n"
    )


def by_attack(found: Sequence[LogResult]) -> str:
    """Count the successful runs of each attack against each defence."""
    records = [record for each in found for record in each.records if record["goal"] != "benign"]
    names = [name for name in COLUMNS if any(record["defence"] == name for record in records)]
    if not records:
        return ""
    lines = [
        f"Each cell counts the runs in which the attack succeeded. An attack succeeds if its target is in the top"
        f" {SERVED} for {SUCCESS_S} s or more and would not be there without the attack. A10 succeeds if an honest"
        f" item is off the list for that long, A17 if {DISTURBED} or more honest items are.\n\n"
        f"The number before the slash counts planned attacks with at most {MOST_PRICES:g} times the undefended"
        f" price. That price is the number of new accounts that it takes to reach place {SERVED} of a list without"
        " defence. These runs are the same for every defence, so compare the columns by this number. The number after"
        " the slash counts all other runs: larger budgets, multiples of the defence's own higher margin, and"
        " attackers who watch the list or the scores.\n",
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
    """Write the tables of prices, of neighbours, of honest crowds and of open attacks."""
    neighbours = pair_tables.section([record for each in found for record in each.pairs])
    parts = {
        "Price of a place": prices(found),
        "Places next to an item": neighbours,
        "Honest crowds": crowds(found),
        "Open attacks": not_stopped(found),
    }
    return "\n".join(f"### {title}\n\n{part}" for title, part in parts.items() if part)


def prices(found: Sequence[LogResult]) -> str:
    """Write the accounts that the last and the first place cost under four rules.

    Figures are medians over start times, by log.
    """
    priced = [each for each in found if each.prices]
    if not priced:
        return ""
    titles = [f"{each.name}: top {place}" for each in priced for place in (10, 1)]
    lines = [
        "Each cell is the number of new accounts that bring an item without readers into the top 10, or to the top."
        " It was found by trying, and is the median over start times.\n",
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
    """Count the honest crowds that Groundswell shows late, and their lost events."""
    records = [r for each in found for r in each.records if r["attack"] in CROWDS and r["defence"] == "full"]
    if not records:
        return ""
    lines = [
        "These crowds are honest but look like attacks. The two middle columns count the runs in which Groundswell"
        f" shows the item more than {LATE_S} s late, or never. The first compares with a list without defence, the"
        " second with Groundswell without its screen. The last column is the share of the crowd's events that is lost"
        " for good.\n",
        *header("crowd", "late: trust and screen", "late: screen alone", "events lost"),
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
    """List the results of attacks that look like readers to any list of counts."""
    records = [r for each in found for r in each.records if r["defence"] == "full" and r["attack"] in OPEN_ATTACKS]
    lines = [
        f"- {CATALOGUE[code].TITLE} ({code}): {_fate(code, [r for r in records if r['attack'] == code])}"
        for code in OPEN_ATTACKS
        if any(record["attack"] == code for record in records)
    ]
    return (
        "\n".join(["Results of these attacks against Groundswell, at all budgets:\n", *lines]) + "\n" if lines else ""
    )


def _is_cheap(record: Record) -> bool:
    is_plan = record["unit"] == "price" and record["variant"] == "plain"
    return is_plan and float(record["multiple"]) <= MOST_PRICES


def _cheap_and_dear(records: Sequence[Record]) -> str:
    cheap = [record for record in records if _is_cheap(record)]
    dear = [record for record in records if not _is_cheap(record)]
    return " / ".join(_won(part) if part else "-" for part in (cheap, dear))


def _won(records: Sequence[Record]) -> str:
    return f"{sum(record['success'] for record in records)} of {len(records)}"


def _cost(found: LogResult) -> str:
    full, bare = found.honest.get("full", {}), found.honest.get("caps", {})
    if not full:
        return ""
    text = f"{found.name}: {100 * full['held']:.2f} % of events held, {100 * full['quarantined']:.3f} % lost"
    if full.get("hr20") is not None and bare.get("hr20"):
        text += f", {100 * full['hr20'] / bare['hr20']:.1f} % of the hit rate kept"
    return text


def _late(records: Sequence[Record], key: str) -> str:
    due = [record[key]["same"] for record in records if "same" in (record.get(key) or {})]
    late = sum(each is None or each > LATE_S for each in due)
    return f"{late} of {len(due)}"


def _fate(code: str, records: Sequence[Record]) -> str:
    won = sum(record["success"] for record in records)
    if code == "A10":
        longest = max(record["false_s"] for record in records)
        return (
            f"in {won} of {len(records)} runs the victim is off the list for {SUCCESS_S} s or more. The longest"
            f" absence is {longest} s."
        )
    least = [record["accounts_used"] for record in records if record["success"]]
    below = [record for record in records if record["is_below_margin"]]
    text = f"{won} of {len(records)} runs succeed"
    text += f", the cheapest with {min(least):,} accounts" if least else ""
    counted = "at full trust each" if code in ("A9", "A14") else "as new accounts"
    n_below = sum(record["success"] for record in below)
    return f"{text}. Below the margin (counted {counted}), {n_below} of {len(below)} succeed."
