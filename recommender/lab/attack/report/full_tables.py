"""All tables of one log. Pure: records in, Markdown out.

records, honest figures, prices, tightness ──> Markdown, each table under a sentence that explains it
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
    "forest": "forest only",
    "caps": "caps only",
    "trust": "caps + trust",
    "full": "Groundswell",
    "oracle": "oracle",
}
BOUNDED = ["caps", "trust", "full"]  # defences whose lists have a margin
MANY = 2.0  # budget of the table by attack, in undefended prices


def of_log(found: LogResult) -> str:
    """Write all tables of one log."""
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
    """Write the share of runs that succeed, by defence and budget in prices."""
    plain = records.filter(pl.col("variant") == "plain", pl.col("unit") == "price")
    budgets = sorted(plain["multiple"].unique())
    lines = [
        "Share of the runs in which an attack succeeds, by budget, for all attacks A1-A17, with 95 % intervals. An"
        " attack succeeds if its target is in the top 10 for a minute or more and would not be there without the"
        " attack. An attack that demotes succeeds if its target is missing for that long. Budget 1 is the number of"
        " new accounts that it takes to reach the tenth place of a list without defence. The oracle is a perfect"
        " filter: it removes exactly the events of the attack.\n",
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
    """Write the effect of each budget: success, places gained and attention taken."""
    chosen = records.filter(pl.col("variant") == "plain", pl.col("unit") == unit, pl.col("goal") == "promote")
    if not len(chosen):
        return ""
    budgets = sorted(chosen["multiple"].unique())
    of = "the undefended price" if unit == "price" else "the defence's own margin m\\*"
    lines = [
        f"Effect of a budget in multiples of {of}, for all attacks that push an item. A cell gives three figures:"
        " runs that succeed / places gained at the best moment / share of the attention to the list that false places"
        " take. Each figure is the median over start times of the mean at each, with its bootstrap 95 % interval.\n",
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
    """Write how long attack A10 keeps a clean rival off the list."""
    chosen = records.filter(pl.col("attack") == "A10")
    if not len(chosen):
        return ""
    lines = [
        "Framing (A10). A run counts as framed if the victim is off the list for a minute or more in which it would"
        " have been on it. The table gives the seconds off the list (median over start times, and the longest), and"
        " the share of readers' events during the run that are lost for good.\n",
        *header("defence", "runs", "framed", "seconds off the list", "longest", "honest events lost"),
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
    """Write the smallest budget that takes a place, compared with the margin.

    No budget below the margin can take it.
    """
    if not found:
        return ""
    frame = pl.DataFrame(found, infer_schema_length=None)
    lines = [
        "Tightness of the margin. A search finds the smallest number of new accounts that holds a place for a minute."
        f" The table gives it in multiples of m\\* (median over start times, and range). Up to {MOST:g} m\\* are"
        " tried.\n",
        *header("defence", "strike", "m\\*", "accounts needed", "needed / m\\*", "not found", n_text=2),
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
    """Write the result of every attack at one budget, and the time to contain it."""
    chosen = records.filter(pl.col("unit") == "price", pl.col("multiple") == MANY)
    names = [name for name in NAMES if name != "oracle" and len(chosen.filter(pl.col("defence") == name))]
    variants = [each for each in ("plain", "black-box", "white-box") if each in set(chosen["variant"])]
    lines = [
        f"Successful runs of each attack at {MANY:g} undefended prices. A cell gives three counts: the attacker"
        f" follows a plan / watches the list / watches the scores. The other columns are about {NAMES[names[-1]]}:"
        " median time to the first alarm, time until the last false place (median and 95th percentile), and median"
        " precision and recall of the verdicts.\n",
        row(["attack", *(NAMES[name] for name in names), "first alarm, s", "contained, s", "precision", "recall"]),
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
    """Write the result of all runs below the margin and above it."""
    lines = [
        "Test of the margin m\\*. A run is below m\\* if it has fewer accounts than the least margin of its target"
        " during the attack. Accounts with a history count at full trust. No run below m\\* may succeed. Violations"
        " are seconds in which a target held a place with fewer accounts than its price.\n",
        row(
            [
                "defence",
                "runs below m\\*",
                "of them succeed",
                "violations, s",
                "runs above m\\*",
                "of them succeed",
                "contained, s: p50, p95",
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
    """Write the delay of honest crowds, and the share of their events that is stopped.

    The delay is compared with the undefended list and with a list without a screen.
    """
    if not records:
        return ""
    lines = [
        "Honest look-alikes. The table gives the median delay of the item compared with a list without defence. It is"
        " measured at the best place that the item holds there for a minute, at the top 20 and at the top 10."
        ' "Never" counts the runs in which the item does not get there. "Screen alone" compares with the list without'
        " a screen. The last columns are the shares of the crowd's events that are held and quarantined.\n",
        *header(
            "look-alike", "defence", "visitors", "same place", "top 20", "top 10", "screen alone", "held",
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
    """Write the cost of each defence on the log without an attack."""
    if not honest:
        return ""
    lines = [
        "Cost without an attack: the shares of readers' events ever held and quarantined for good, the hit rate of"
        " the list, and genuine spikes that are late. A spike is an hour in which an item has ten times its hourly"
        " average of the day before. It is late if it reaches its place more than 60 s later than with caps only. The"
        " table counts this for the same place, for at most two places below it, for the top 20 and for the top 10."
        " The number in brackets counts spikes that come more than 60 s earlier, since trust moves items both ways."
        " The last line compares with the same list without a screen.\n",
        row(["defence", "held", "quarantined", "HR@20", "late: same place", "within 2 places", "top 20", "top 10"]),
        row(["---"] + ["--:"] * 7),
    ]
    for name, each in honest.items():
        hit_rate = f"{each['hr20']:.4f}" if "hr20" in each else "-"
        shares = [f"{100 * each['held']:.2f} %", f"{100 * each['quarantined']:.3f} %"]
        lines.append(row([NAMES[name], *shares, hit_rate, *_lateness(each.get("lateness"))]))
    if "lateness_by_screen" in honest.get("full", {}):
        lines.append(row(["screen alone", "", "", "", *_lateness(honest["full"]["lateness_by_screen"])]))
    return "\n".join(lines) + "\n"


def collateral(honest: dict[str, Any]) -> str:
    """Write how much more some groups of readers pay than all readers."""
    known = {name: each["collateral"] for name, each in honest.items() if each.get("collateral")}
    if not known:
        return ""
    groups = {"new": "readers in their first hour", "shared": "readers behind an address of 20 or more actors"}
    lines = [
        "Cost by group, without an attack: the share of a group's events that is held or lost, as a multiple of the"
        " same share for all readers. Up to 2 is fair.\n",
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
    """Write the accounts needed for the tenth and the first place under each rule."""
    if not prices:
        return ""
    lines = [
        f"Price of a place: the number of new accounts that bring an item without readers into the top 10, or to the"
        f" top. It was found by trying, and is the median of {len(prices)} moments (range).\n",
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
