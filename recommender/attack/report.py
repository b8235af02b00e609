"""What the benchmark found, as tables: records in, Markdown out. Pure, except for the README's two markers.

records, honest figures, prices ──> Markdown ──> between `<!-- attack table -->` and `<!-- /attack table -->`
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recommender.attack.benchmark import STOLEN
from recommender.attack.catalogue import CATALOGUE
from recommender.attack.metrics import interval, proportion
from recommender.attack.prices import RULES

OPEN, CLOSE = "<!-- attack table -->", "<!-- /attack table -->"
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


def render(sites: dict[str, dict[str, Any]]) -> str:
    """All tables of all sites. sites: name -> {"records", "honest", "prices", "took_s"}."""
    parts = []
    for name, found in sites.items():
        frame = pl.DataFrame(found["records"], infer_schema_length=None)
        parts.append(f"#### {name}\n")
        if len(frame):
            attacks = frame.filter(pl.col("goal") != "benign")
            if len(attacks):
                parts += [by_budget(attacks), by_attack(attacks), by_margin(attacks)]
            parts.append(look_alikes([record for record in found["records"] if record["goal"] == "benign"]))
        parts += [honest_table(found.get("honest", {})), price_table(found.get("prices", []))]
    return "\n".join(part for part in parts if part)


def by_budget(records: pl.DataFrame) -> str:
    """Share of runs in which the attack succeeded, by defence and budget in prices."""
    plain = records.filter(pl.col("variant") == "plain", pl.col("unit") == "price")
    budgets = sorted(plain["multiple"].unique())
    lines = [
        "Attacks that succeed (the target in the served top 10 for a minute or more and not there without the attack;"
        " for demotions, the reverse), by budget. 1 = as many new accounts as the undefended list asks for its tenth"
        " place. All attacks A1-A17, 95 % intervals.\n",
        _row(["defence", *(f"{budget:g}" for budget in budgets)]),
        _row(["---"] + ["--:"] * len(budgets)),
    ]
    for name, title in NAMES.items():
        mine = plain.filter(pl.col("defence") == name)
        if len(mine):
            cells = [_share(mine.filter(pl.col("multiple") == budget)) for budget in budgets]
            lines.append(_row([title, *cells]))
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
        _row(["attack", *(NAMES[name] for name in names), "alarm s", "contained s", "precision", "recall"]),
        _row(["---"] + ["--:"] * (len(names) + 4)),
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
            _row(
                [
                    f"{code} {CATALOGUE[code].TITLE}",
                    *cells,
                    _median(last["detect_s"]),
                    f"{_quantile(last['contain_s'], 0.5)}, {_quantile(last['contain_s'], 0.95)}",
                    _median(last["precision"], 2),
                    _median(last["recall"], 2),
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
        _row(
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
        _row(["---"] + ["--:"] * 6),
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
                _row(
                    [
                        f"{NAMES[name]}, {title}",
                        str(len(below)),
                        _share(below),
                        str(int(mine["violations"].fill_null(0).sum())),
                        str(len(above)),
                        _share(above),
                        f"{_quantile(contain, 0.5)}, {_quantile(contain, 0.95)}",
                    ]
                )
            )
    return "\n".join(lines) + "\n"


def look_alikes(records: Sequence[dict[str, Any]]) -> str:
    """What becomes of honest crowds: delay against the undefended list, and events stopped."""
    if not records:
        return ""
    lines = [
        "Honest look-alikes: seconds until the item stands in the first 20 and 10, later than on an undefended list"
        " (median; - where it never comes), and events held and quarantined.\n",
        _row(["look-alike", "defence", "visitors", "top 20", "top 10", "held", "quarantined"]),
        _row(["---", "---"] + ["--:"] * 5),
    ]
    for code, name in sorted({(record["attack"], record["defence"]) for record in records}):
        if name in ("none", "oracle"):
            continue
        rows = [record for record in records if (record["attack"], record["defence"]) == (code, name)]
        n = {
            name: sum(row["verdicts"]["injected"][name] for row in rows) for name in ("events", "held", "quarantined")
        }
        delays = [row.get("delay_s", {}) for row in rows]
        cells = [_delay([each[place] for each in delays if place in each]) for place in ("20", "10")]
        shares = [f"{100 * n[name] / max(1, n['events']):.1f} %" for name in ("held", "quarantined")]
        visitors = "-".join(str(least([row["accounts"] for row in rows])) for least in (min, max))
        lines.append(_row([f"{code} {CATALOGUE[code].TITLE}", NAMES[name], visitors, *cells, *shares]))
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
        _row(["defence", "held", "quarantined", "HR@20", "late: same place", "within 2", "top 20", "top 10"]),
        _row(["---"] + ["--:"] * 7),
    ]
    for name, each in honest.items():
        hit_rate = f"{each['hr20']:.4f}" if "hr20" in each else "-"
        shares = [f"{100 * each['held']:.2f} %", f"{100 * each['quarantined']:.3f} %"]
        lines.append(_row([NAMES[name], *shares, hit_rate, *_lateness(each.get("lateness"))]))
    if "lateness_by_screen" in honest.get("full", {}):
        lines.append(_row(["the screen's part", "", "", "", *_lateness(honest["full"]["lateness_by_screen"])]))
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
        _row(["rule", "top 10", "top 1"]),
        _row(["---", "--:", "--:"]),
    ]
    for rule, title in RULES.items():
        cells = []
        for place in ("top10", "top1"):
            found = [each[place] for moment in prices for each in moment if each["rule"] == rule]
            known = [each for each in found if each is not None]
            text = f"{np.median(known):,.0f} ({min(known):,}-{max(known):,})" if known else "-"
            cells.append(f"1, with {text} clicks" if rule == "raw" and known else text)
        lines.append(_row([title, *cells]))
    return "\n".join(lines) + "\n"


def update_readme(path: Path, table: str) -> None:
    """Replace what stands between the markers. Raises ValueError where they are not there, in this order."""
    text = path.read_text()
    start, end = text.find(OPEN), text.find(CLOSE)
    if start < 0 or end < start:
        raise ValueError(f"{path} has no {OPEN} followed by {CLOSE}")
    path.write_text(f"{text[: start + len(OPEN)]}\n{table.strip()}\n{text[end:]}")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _share(records: pl.DataFrame) -> str:
    if not len(records):
        return "-"
    share, low, high = proportion(int(records["success"].sum()), len(records))
    return f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def _median(values: pl.Series, digits: int = 1) -> str:
    known = values.drop_nulls().cast(pl.Float64).to_list()
    if not known:
        return "-"
    value, low, high = interval(known)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _quantile(values: pl.Series, q: float) -> str:
    return "-" if not len(values) else f"{float(values.cast(pl.Float64).quantile(q, 'nearest') or 0.0):.0f}"


def _delay(values: Sequence[float | None]) -> str:
    if not values:
        return "not due"
    never = sum(each is None for each in values)
    known = [each for each in values if each is not None]
    text = f"{np.median(known):+.0f} s" if known else "-"
    return text + (f", never {never}/{len(values)}" if never else "")
