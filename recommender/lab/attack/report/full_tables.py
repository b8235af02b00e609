"""The full tables of one log: records in, Markdown out. Pure.

records, honest figures, prices, tightness ──> Markdown, a table each with what it shows above it
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from recommender.lab.attack.catalogue.all_attacks import CATALOGUE
from recommender.lab.attack.report import pair_tables
from recommender.lab.attack.report.markdown import delay, header, median, number, over_starts, quantile, row, share
from recommender.lab.attack.trials.benchmark import STOLEN
from recommender.lab.attack.trials.margin_tightness import MOST
from recommender.lab.attack.trials.measured_prices import RULES
from recommender.lab.attack.trials.whole_suite import LogResult

NAMES = {
    "none": "no defence",
    "forest": "forest alone, self-trained",
    "caps": "caps alone",
    "trust": "caps and trust",
    "full": "full",
    "oracle": "oracle",
}
BOUNDED = ["caps", "trust", "full"]  # by a certificate
MANY = 2.0  # the budget, in prices, of the table by attack


def of_log(found: LogResult) -> str:
    """All tables of one log."""
    records = found.records
    parts = []
    if attacks := [record for record in records if record["goal"] != "benign"]:
        frame = pl.DataFrame(attacks, infer_schema_length=None)
        parts += [by_budget(frame), curves(frame, "price"), curves(frame, "margin"), by_attack(frame)]
        parts += [by_margin(frame), framing(frame)]
    parts += [tightness_table(found.tightness), pair_tables.section(found.pairs), price_table(found.prices)]
    parts += [look_alikes([record for record in records if record["goal"] == "benign"])]
    parts += [honest_table(found.honest), collateral(found.honest)]
    return "\n".join(part for part in parts if part)


def by_budget(records: pl.DataFrame) -> str:
    """Share of runs in which the attack succeeded, by defence and budget in prices."""
    plain = records.filter(pl.col("variant") == "plain", pl.col("unit") == "price")
    budgets = sorted(plain["multiple"].unique())
    lines = [
        "Attacks that succeed (the target in the served top 10 for a minute or more and not there without the attack;"
        " for demotions, the reverse), by budget. 1 = as many new accounts as the undefended list asks for its tenth"
        " place. All attacks A1-A17, 95 % intervals.\n",
        row(["defence", *(f"{budget:g}" for budget in budgets)]),
        row(["---"] + ["--:"] * len(budgets)),
    ]
    for name, title in NAMES.items():
        mine = plain.filter(pl.col("defence") == name)
        if len(mine):
            cells = [share(mine.filter(pl.col("multiple") == budget)) for budget in budgets]
            lines.append(row([title, *cells]))
    return "\n".join(lines) + "\n"


def curves(records: pl.DataFrame, unit: str) -> str:
    """What a budget buys: places gained at the best moment and attention taken, over starts."""
    chosen = records.filter(pl.col("variant") == "plain", pl.col("unit") == unit, pl.col("goal") == "promote")
    if not len(chosen):
        return ""
    budgets = sorted(chosen["multiple"].unique())
    of = "the undefended price" if unit == "price" else "the defence's own margin m\\*"
    lines = [
        f"What a budget in multiples of {of} buys, all attacks on a place: runs that succeed / places gained at the"
        " best moment / share of all attention to the list taken by false places. Medians over starts of their means,"
        " with bootstrap 95 % intervals.\n",
        *header("defence", *(f"{budget:g}" for budget in budgets)),
    ]
    for name, title in NAMES.items():
        mine = chosen.filter(pl.col("defence") == name)
        if len(mine):
            cells = []
            for budget in budgets:
                at = mine.filter(pl.col("multiple") == budget)
                success = over_starts(at, "success", scale=100, digits=0)
                exposure = over_starts(at, "exposure", scale=100)
                cells.append(f"{success} % / {over_starts(at, 'lift')} / {exposure} %")
            lines.append(row([title, *cells]))
    return "\n".join(lines) + "\n"


def framing(records: pl.DataFrame) -> str:
    """A10: how long a clean rival is off the list because of hostile clicks on it."""
    chosen = records.filter(pl.col("attack") == "A10")
    if not len(chosen):
        return ""
    lines = [
        "Framing (A10): runs in which the victim is off the list for a minute or more that it would have been on it,"
        " seconds off the list (median over starts; the longest), and of the honest clicks of these minutes lost.\n",
        *header("defence", "runs", "framed", "seconds off", "longest", "honest events lost"),
    ]
    for name, title in NAMES.items():
        mine = chosen.filter(pl.col("defence") == name)
        if not len(mine):
            continue
        readers = [verdicts["readers"] for verdicts in mine["verdicts"]]
        lost = sum(each["quarantined"] for each in readers) / max(1, sum(each["events"] for each in readers))
        longest = int(cast(Any, mine["false_s"].cast(pl.Int64).max()) or 0)
        cells = [str(len(mine)), share(mine), over_starts(mine, "false_s"), str(longest), f"{100 * lost:.3f} %"]
        lines.append(row([title, *cells]))
    return "\n".join(lines) + "\n"


def tightness_table(found: Sequence[dict[str, Any]]) -> str:
    """The smallest budget found that takes a place, beside the margin below which none can."""
    if not found:
        return ""
    frame = pl.DataFrame(found, infer_schema_length=None)
    lines = [
        "Tightness: the smallest number of new accounts, found by search, that holds a place for a minute, in"
        f" multiples of m\\* (median over starts; range). Up to {MOST:g} m\\* are tried.\n",
        *header("defence", "strike", "m\\*", "needed", "needed / m\\*", "not found", n_text=2),
    ]
    for name in BOUNDED:
        for how in frame.filter(pl.col("defence") == name)["how"].unique(maintain_order=True).to_list():
            mine = frame.filter(pl.col("defence") == name, pl.col("how") == how)
            ratios, needed = mine["ratio"].drop_nulls(), mine["needed"].drop_nulls()
            known = ratios.to_list()
            text = f"{np.median(known):.2f} ({min(known):.2f}-{max(known):.2f})" if known else "-"
            least = number(float(cast(Any, needed.median()))) if len(needed) else "-"
            margin = number(float(cast(Any, mine["margin"].median())))
            lines.append(row([NAMES[name], how, margin, least, text, f"{mine['ratio'].null_count()}/{len(mine)}"]))
    return "\n".join(lines) + "\n"


def by_attack(records: pl.DataFrame) -> str:
    """One budget, every attack: who stops what, and how soon."""
    chosen = records.filter(pl.col("unit") == "price", pl.col("multiple") == MANY)
    names = [name for name in NAMES if name != "oracle" and len(chosen.filter(pl.col("defence") == name))]
    variants = [each for each in ("plain", "black-box", "white-box") if each in set(chosen["variant"])]
    lines = [
        f"By attack, at {MANY:g} prices: runs that succeed by plan / watching the list / watching the scores; and for"
        " the last defence the median time to the first alarm, the time until no false place is left (median, 95th"
        " percentile), precision and recall of the verdicts (median).\n",
        row(["attack", *(NAMES[name] for name in names), "alarm s", "contained s", "precision", "recall"]),
        row(["---"] + ["--:"] * (len(names) + 4)),
    ]
    for code in [each for each in CATALOGUE if each in set(chosen["attack"])]:
        rows = chosen.filter(pl.col("attack") == code)
        cells = []
        for name in names:
            mine = rows.filter(pl.col("defence") == name)
            of = [mine.filter(pl.col("variant") == variant) for variant in variants]
            cells.append(" / ".join(f"{int(each['success'].sum())}/{len(each)}" for each in of if len(each)))
        last = rows.filter(pl.col("defence") == names[-1])
        lines.append(
            row(
                [
                    f"{code} {CATALOGUE[code].TITLE}",
                    *cells,
                    median(last["detect_s"]),
                    f"{quantile(last['contain_s'], 0.5)}, {quantile(last['contain_s'], 0.95)}",
                    median(last["precision"], 2),
                    median(last["recall"], 2),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def by_margin(records: pl.DataFrame) -> str:
    """The certificate against everything that was tried."""
    lines = [
        "The certificate: runs with fewer accounts than the least margin of the target during the attack (of accounts"
        " with a history: at full trust each), how many of them succeeded, and seconds in which a place was taken"
        " below its price; beside it the runs with more.\n",
        row(
            [
                "defence",
                "runs below m*",
                "succeeded",
                "violations s",
                "runs above",
                "succeeded",
                "contained s p50, p95",
            ]
        ),
        row(["---"] + ["--:"] * 6),
    ]
    promotions = records.filter(pl.col("goal") == "promote")
    is_stolen = pl.col("attack").is_in(sorted(STOLEN))
    for name in BOUNDED:
        for title, chosen in (("new accounts", ~is_stolen), ("stolen or hired", is_stolen)):
            mine = promotions.filter(pl.col("defence") == name, chosen)
            if not len(mine):
                continue
            below, above = mine.filter(pl.col("is_below_margin")), mine.filter(~pl.col("is_below_margin"))
            contain = above["contain_s"]
            lines.append(
                row(
                    [
                        f"{NAMES[name]}, {title}",
                        str(len(below)),
                        share(below),
                        str(int(mine["violations"].fill_null(0).sum())),
                        str(len(above)),
                        share(above),
                        f"{quantile(contain, 0.5)}, {quantile(contain, 0.95)}",
                    ]
                )
            )
    return "\n".join(lines) + "\n"


def look_alikes(records: Sequence[dict[str, Any]]) -> str:
    """What becomes of honest crowds: delay against the undefended list and against one without a screen, and events
    stopped."""
    if not records:
        return ""
    lines = [
        "Honest look-alikes: seconds until the item stands where an undefended list has it for a minute, in the first"
        " 20, and in the first 10, later than there (median; never: of all due); the same against the list without a"
        " screen; and the crowd's events held and quarantined.\n",
        *header(
            "look-alike", "defence", "visitors", "same place", "top 20", "top 10", "by the screen", "held",
            "quarantined", n_text=2,
        ),
    ]  # fmt: skip
    for code, name in sorted({(record["attack"], record["defence"]) for record in records}):
        if name in ("none", "oracle"):
            continue
        mine = [record for record in records if (record["attack"], record["defence"]) == (code, name)]
        late = [record.get("delay_s", {}) for record in mine]
        screened = [record.get("delay_by_screen_s", {}) for record in mine]
        cells = [delay([each[place] for each in late if place in each]) for place in ("same", "20", "10")]
        cells.append(delay([each["same"] for each in screened if "same" in each]) if name == "full" else "-")
        totals = [record["verdicts"]["injected"] for record in mine]
        n = max(1, sum(each["events"] for each in totals))
        cells += [f"{100 * sum(each[key] for each in totals) / n:.1f} %" for key in ("held", "quarantined")]
        visitors = "-".join(str(least(record["accounts"] for record in mine)) for least in (min, max))
        lines.append(row([f"{code} {CATALOGUE[code].TITLE}", NAMES[name], visitors, *cells]))
    return "\n".join(lines) + "\n"


def honest_table(honest: dict[str, Any]) -> str:
    """The same log without an attack."""
    if not honest:
        return ""
    lines = [
        "Without an attack: readers' events ever held, and quarantined for good; the list's hit rate; and genuine"
        " spikes (item-hours of ten times the day before) that reach the place they have under caps alone, or come"
        " within two places of it, or enter the first 20 and 10, more than 60 s later (in brackets: more than 60 s"
        " earlier; trust orders neighbours anew, both ways). The last line is against the same list without a screen."
        "\n",
        row(["defence", "held", "quarantined", "HR@20", "late: same place", "within 2", "top 20", "top 10"]),
        row(["---"] + ["--:"] * 7),
    ]
    for name, each in honest.items():
        hit_rate = f"{each['hr20']:.4f}" if "hr20" in each else "-"
        shares = [f"{100 * each['held']:.2f} %", f"{100 * each['quarantined']:.3f} %"]
        lines.append(row([NAMES[name], *shares, hit_rate, *_lateness(each.get("lateness"))]))
    if "lateness_by_screen" in honest.get("full", {}):
        lines.append(row(["the screen's part", "", "", "", *_lateness(honest["full"]["lateness_by_screen"])]))
    return "\n".join(lines) + "\n"


def collateral(honest: dict[str, Any]) -> str:
    """Whether some readers pay more than others."""
    known = {name: each["collateral"] for name, each in honest.items() if each.get("collateral")}
    if not known:
        return ""
    groups = {"new": "readers in their first hour", "shared": "behind an address of twenty or more"}
    lines = [
        "Collateral by group, without an attack: share of a group's events held or lost, as a multiple of the share"
        " of all readers' events. 2 is the most that is fair.\n",
        *header("defence", *groups.values()),
    ]
    for name, each in known.items():
        lines.append(row([NAMES[name], *(f"{each[key]:.2f}" if key in each else "-" for key in groups)]))
    return "\n".join(lines) + "\n"


def _lateness(late: dict[str, Any] | None) -> list[str]:
    found = [(late or {}).get(key) for key in _LATE]
    return [f"{each['late']}/{each['due']} ({each['early']})" if each else "-" for each in found]


_LATE = ("exact", "near", "top20", "top10")


def price_table(prices: Sequence[Sequence[dict[str, Any]]]) -> str:
    """New accounts for the tenth and the first place, by rule; medians over the moments measured."""
    if not prices:
        return ""
    lines = [
        f"The price of a place: new accounts that put an item nobody has read into the top 10 and to the top, found"
        f" by trying; median of {len(prices)} moments (range).\n",
        row(["rule", "top 10", "top 1"]),
        row(["---", "--:", "--:"]),
    ]
    for rule, title in RULES.items():
        cells = []
        for place in ("top10", "top1"):
            found = [each[place] for moment in prices for each in moment if each["rule"] == rule]
            known = [each for each in found if each is not None]
            text = f"{np.median(known):,.0f} ({min(known):,}-{max(known):,})" if known else "-"
            cells.append(f"1, with {text} clicks" if rule == "raw" and known else text)
        lines.append(row([title, *cells]))
    return "\n".join(lines) + "\n"
