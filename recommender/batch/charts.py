"""Draw a comparison and a sweep as PNG files.

It needs no screen and changes no global state.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from recommender.batch.candidate_pass import NOTED_DEPTH
from recommender.batch.compare import Comparison
from recommender.batch.sweep import EXPLANATION, Sweep
from recommender.core.vocabulary import HOUR_MS, MINUTE_MS

WIDTH, HEIGHT, DPI = 9.0, 6.0, 120
COLOURS = {
    "daily batch": "#9a9a9a",
    "hourly batch": "#d08a1d",
    "online": "#1f6fb4",
    "online, personalised": "#3b8f4d",
}


def draw_story(found: Comparison, path: Path) -> None:
    """Draw the first hours of the largest story.

    The picture has its acts per minute, and its place in each list.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    if found.spikes:
        story = found.spikes[0]
        minutes = (story.at_ms - story.broke_ms) / MINUTE_MS
        above.hist(minutes, bins=np.arange(0, np.ceil(minutes.max()) + 1), color="#555555")
        at = (found.at_ms - story.broke_ms) / MINUTE_MS
        for name, places in found.places.items():
            shown = np.where(places <= NOTED_DEPTH, places, np.nan)
            never = "" if (places <= NOTED_DEPTH).any() else " (never in these hours)"
            below.step(at, shown, where="post", label=f"{name}{never}", color=COLOURS.get(name), linewidth=2)
        above.set_title(f"A story breaks: item {story.item}, {story.n:,} acts in its hour")
    else:
        above.set_title("No story broke in this log")
    above.set_ylabel("acts a minute")
    below.set_ylabel(f"place among the first {NOTED_DEPTH}")
    below.set_ylim(NOTED_DEPTH + 1, 0)
    below.set_yticks([1, 5, 10, 15, 20])
    below.set_xlabel("minutes since it broke")
    if found.places:
        below.legend(loc="center right")
    figure.savefig(path, dpi=DPI)


def draw_hours(found: Comparison, path: Path) -> None:
    """Draw hits by hour of stream time."""
    figure = Figure(figsize=(WIDTH, HEIGHT * 0.7), layout="constrained")
    axes = figure.subplots()
    for way in found.ways:
        hours = np.array([(hour_ms / HOUR_MS, hits / n) for hour_ms, n, hits in way.hours if n])
        if len(hours):
            axes.plot(hours[:, 0] - hours[0, 0], hours[:, 1], label=way.name, color=COLOURS.get(way.name))
    axes.set(xlabel="hours", ylabel="HR@20", ylim=(0, 1), title="How often the next click was on the list")
    axes.legend()
    figure.savefig(path, dpi=DPI)


def draw_sweep(found: Sweep, path: Path) -> None:
    """Draw a point per value of the setting.

    Adaptivity is to the right, damage upwards, and churn the size of a point. The recommended value is filled.
    """
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    points = [(point, point.adaptivity or 0.0, 100 * (point.damage or 0.0)) for point in found.points]
    axes.plot([x for _, x, _ in points], [y for _, _, y in points], color="#bbbbbb", zorder=1)
    for point, x, y in points:
        is_best = point.value == found.recommended
        face = "#1f6fb4" if is_best else "white"
        axes.scatter(x, y, s=60 + 4000 * point.churn, facecolor=face, edgecolor="#1f6fb4", zorder=2)
        words = f"{point.value}{' (recommended)' if is_best else ''}{' (now)' if point.value == found.now else ''}"
        axes.annotate(words, (x, y), textcoords="offset points", xytext=(8, 8))
    axes.set_xlabel("adaptivity: hits in the first minutes of stories")
    axes.set_ylabel("damage: attention the fixed attacks get, %")
    axes.set_title(f"{found.path}. {EXPLANATION}\nThe larger a point, the more of the list is replaced in a minute.")
    axes.title.set_fontsize(10)
    figure.savefig(path, dpi=DPI)
