"""Promises of the defence, each with its target, its measured value and a verdict.

Pure: the results of `whole_suite` go in.

    records, honest figures ──> Line(what, target, measured, is_met) ──> the table of promises

A promise is judged on the worst log, or on the runs of all logs together. A promise that was not measured is neither
met nor missed. If a promise can be read in two ways, both readings get a line, and not only the kinder one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recommender.lab.attack.trials.run_metrics import proportion
from recommender.lab.attack.trials.whole_suite import LogResult

PROMISED = ("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A12", "A13")
MOST_PRICES = 2.0
MAX_SUCCESS = 0.01
CONTAIN_S = {0.5: 2.0, 0.95: 10.0}
MAX_LOST, MAX_HELD = 0.001, 0.01
MIN_HIT_RATE = 0.995

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One promise. is_met: None if nothing was measured."""

    what: str
    target: str
    measured: str
    is_met: bool | None

    @property
    def verdict(self) -> str:
        """Say in words whether the promise is kept."""
        return "not measured" if self.is_met is None else "met" if self.is_met else "**missed**"


def evaluate(found: Sequence[LogResult]) -> list[Line]:
    """Judge every promise of the full defence."""
    full = [record for each in found for record in each.records if record["defence"] == "full"]
    bounded = [r for each in found for r in each.records if r["defence"] in ("caps", "trust", "full")]
    pushes = [record for record in full if record["goal"] == "promote"]
    cheap = [r for r in pushes if r["attack"] in PROMISED and r["accounts"] <= MOST_PRICES * r["price"]]
    codes = "A1-A8, A12, A13"
    return [
        _success(f"success of {codes} with at most twice the undefended price, below m\\*", _below(cheap)),
        _success(f"success of {codes} with at most twice the undefended price, below or above m\\*", cheap),
        _success("success of all attacks below m\\*, also if the attacker watches the list", _below(pushes)),
        _violations([record for record in bounded if record["goal"] == "promote"]),
        *_contained([record for record in pushes if not record["is_below_margin"]]),
        _share("honest events lost for good without an attack", found, "quarantined", MAX_LOST),
        _share("honest events held at any time without an attack", found, "held", MAX_HELD),
        _lost_under_attack(full),
        _late("genuine spikes more than 60 s late because of the screen", found, "lateness_by_screen"),
        _late("genuine spikes more than 60 s late because of trust and screen", found, "lateness"),
        _kept("hit rate (HR@20) compared with the list without screen", found, "trust"),
        _kept("hit rate (HR@20) compared with the list without trust and screen", found, "caps"),
    ]


def _below(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record["is_below_margin"]]


def _success(what: str, records: Sequence[Record]) -> Line:
    n, won = len(records), sum(record["success"] for record in records)
    high = proportion(won, n)[2]
    measured = f"{won} of {n:,} = {100 * won / n:.1f} % (95 %: up to {100 * high:.1f} %)" if n else "-"
    return Line(what, f"at most {100 * MAX_SUCCESS:g} % of runs", measured, won <= MAX_SUCCESS * n if n else None)


def _violations(records: Sequence[Record]) -> Line:
    seconds = sum(record.get("violations") or 0 for record in records)
    measured = f"{seconds} s in {len(records):,} runs" if records else "-"
    what = "seconds in which a place was taken below its price"
    return Line(what, "0", measured, seconds == 0 if records else None)


def _contained(records: Sequence[Record]) -> list[Line]:
    """Judge the time to contain attacks above the margin.

    The second line judges only the runs in which the attack gained a place.
    """
    target = "median at most 2 s, 95th percentile at most 10 s"
    seen = [record for record in records if record["false_s"] > 0]
    lines = []
    for what, chosen in (
        ("time until an attack above m\\* is contained", records),
        ("the same, only runs in which the attack gained a place", seen),
    ):
        values = [record["contain_s"] for record in chosen]
        if not values:
            lines.append(Line(what, target, "none" if records else "-", True if records else None))
            continue
        at = {q: float(np.quantile(values, q, method="inverted_cdf")) for q in CONTAIN_S}
        open_ended = sum(not record["is_contained"] for record in chosen)
        measured = f"median {at[0.5]:.0f} s, 95th percentile {at[0.95]:.0f} s in {len(values):,} runs"
        measured += f"; {open_ended} runs not contained by the end" if open_ended else ""
        is_met = all(at[q] <= most for q, most in CONTAIN_S.items()) and not open_ended
        lines.append(Line(what, target, measured, is_met))
    return lines


def _by_log(found: Sequence[LogResult], of: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return a figure of the honest part by log, without the logs that lack it."""
    known = {each.name: of(each.honest) for each in found if each.honest}
    return {name: value for name, value in known.items() if value is not None}


def _share(what: str, found: Sequence[LogResult], name: str, most: float) -> Line:
    shares = _by_log(found, lambda each: each.get("full", {}).get(name))
    measured = "; ".join(f"{log} {100 * share:.3f} %" for log, share in shares.items()) or "-"
    return Line(what, f"at most {100 * most:g} %", measured, max(shares.values()) <= most if shares else None)


def _lost_under_attack(records: Sequence[Record]) -> Line:
    n = sum(record["verdicts"]["readers"]["events"] for record in records)
    lost = sum(record["verdicts"]["readers"]["quarantined"] + record["lost_before"] for record in records)
    measured = f"{100 * lost / n:.3f} % of {n:,}" if n else "-"
    what = "honest events lost for good during attacks"
    return Line(what, f"at most {100 * MAX_LOST:g} %", measured, lost <= MAX_LOST * n if n else None)


def _late(what: str, found: Sequence[LogResult], key: str) -> Line:
    """Count late spikes: at their exact place, and into the top 20."""
    late = _by_log(found, lambda each: each.get("full", {}).get(key))
    late = {log: each for log, each in late.items() if "exact" in each}
    parts = [
        f"{log} {each['exact']['late']} of {each['exact']['due']} (into the top 20: {each['top20']['late']})"
        for log, each in late.items()
    ]
    n_late = sum(each["exact"]["late"] for each in late.values())
    return Line(what, "0", "; ".join(parts) or "-", n_late == 0 if late else None)


def _kept(what: str, found: Sequence[LogResult], beside: str) -> Line:
    def ratio(honest: dict[str, Any]) -> float | None:
        with_it, without = honest.get("full", {}).get("hr20"), honest.get(beside, {}).get("hr20")
        return with_it / without if with_it is not None and without else None

    ratios = _by_log(found, ratio)
    measured = "; ".join(f"{log} {100 * each:.2f} %" for log, each in ratios.items()) or "-"
    is_met = min(ratios.values()) >= MIN_HIT_RATE if ratios else None
    return Line(what, f"at least {100 * MIN_HIT_RATE:g} %", measured, is_met)
