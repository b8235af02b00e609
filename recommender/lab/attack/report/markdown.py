"""Rows and cells of tables in Markdown."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from recommender.lab.attack.trials.run_metrics import interval, proportion


def row(cells: Sequence[str]) -> str:
    """Write one line of a table."""
    return "| " + " | ".join(cells) + " |"


def header(*titles: str, n_text: int = 1) -> list[str]:
    """Write the first two lines of a table.

    Columns after the first n_text hold numbers.
    """
    return [row(titles), row(["---"] * n_text + ["--:"] * (len(titles) - n_text))]


def number(value: float | None, digits: int = 0) -> str:
    """Write a number with thousands separators, or - for None."""
    return "-" if value is None else f"{value:,.{digits}f}"


def share(records: pl.DataFrame) -> str:
    """Write the share of runs that succeeded, with Wilson's 95 % interval."""
    if not len(records):
        return "-"
    found, low, high = proportion(int(records["success"].sum()), len(records))
    return f"{100 * found:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def median(values: pl.Series, digits: int = 1) -> str:
    """Write a median with its bootstrap 95 % interval."""
    known = values.drop_nulls().cast(pl.Float64).to_list()
    if not known:
        return "-"
    value, low, high = interval(known)
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def over_starts(records: pl.DataFrame, column: str, *, scale: float = 1.0, digits: int = 1) -> str:
    """Write the median over start times of the mean at each, with its 95 % interval.

    The interval is a bootstrap. The means are formed first because runs from one start time are not independent
    draws.
    """
    known = records.filter(pl.col(column).is_not_null())
    if not len(known):
        return "-"
    means = known.group_by("start").agg(pl.col(column).cast(pl.Float64).mean().alias("mean")).sort("start")
    value, low, high = (scale * each for each in interval(means["mean"].to_list()))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def quantile(values: pl.Series, q: float) -> str:
    """Write a quantile in whole seconds."""
    return "-" if not len(values) else f"{float(values.cast(pl.Float64).quantile(q, 'nearest') or 0.0):.0f}"


def delay(values: Sequence[float | None]) -> str:
    """Write the median of delays, and how many items never came."""
    if not values:
        return "not due"
    never = sum(each is None for each in values)
    known = [each for each in values if each is not None]
    text = f"{np.median(known):+.0f} s" if known else "-"
    return text + (f", never {never}/{len(values)}" if never else "")
