"""Results of a bench: rows with budgets, a table for people and JSON for machines."""

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One measure.

    budget: the least allowed value, or the most if `is_most` is set.
    ceiling: a figure of the same run to compare with.
    """

    measure: str
    value: float
    unit: str
    budget: float | None = None
    is_most: bool = False
    ceiling: float | None = None
    of: str = ""  # names the ceiling
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.budget is None:
            return None
        return self.value <= self.budget if self.is_most else self.value >= self.budget

    @property
    def ratio(self) -> float | None:
        return self.value / self.ceiling if self.ceiling else None

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"met": self.is_met, "ratio": self.ratio}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all values does not exceed.

    >>> percentile([3, 1, 2, 4], 0.5), percentile([5], 0.99)
    (2, 5)
    """
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def table(rows: Sequence[BenchRow]) -> Table:
    """Draw the rows for a terminal. `notes` adds the names of the ceilings."""
    drawn = Table(title="bench")
    drawn.add_column("measure", no_wrap=True)
    for name in ("value", "budget", "met", "ceiling", "ratio"):
        drawn.add_column(name, justify="left" if name == "met" else "right", no_wrap=True)
    words = {True: "[green]yes[/]", False: "[red]NO[/]", None: ""}
    for row in rows:
        budget = "" if row.budget is None else f"{'<=' if row.is_most else '>='} {_figure(row.budget)}"
        ceiling = "" if row.ceiling is None else _figure(row.ceiling)
        ratio = "" if row.ratio is None else f"{row.ratio:.2g}"
        drawn.add_row(row.measure, f"{_figure(row.value)} {row.unit}", budget, words[row.is_met], ceiling, ratio)
    return drawn


def notes(rows: Sequence[BenchRow]) -> list[str]:
    """Write a line for each row that has a ceiling or a note."""
    lines = []
    for row in rows:
        told = [f"compared with {row.of}" if row.of else "", row.note]
        if any(told):
            lines.append(f"{row.measure}: {'; '.join(part for part in told if part)}")
    return lines


def machine() -> dict[str, Any]:
    """Return the facts about this machine that the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def fsync_ms(folder: Path) -> float:
    """Return the median time for a small write to reach the disk.

    A commit costs at least as much.
    """
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(100):
            file.write(bytes(8192))
            file.flush()
            began_at = time.perf_counter()
            os.fsync(file.fileno())
            took.append(1e3 * (time.perf_counter() - began_at))
    return round(percentile(took, 0.5), 3)


def commit(of: Path) -> str:
    """Return the measured commit, with a + if files differ from it.

    It is empty outside a checkout.
    """
    try:
        name = _git(of, "rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git(of, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *arguments],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def _figure(value: float) -> str:
    if abs(value) >= 1e7:
        return f"{value / 1e6:,.0f} M"
    if value and abs(value) < 10:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
