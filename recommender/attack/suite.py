"""The whole benchmark of one log: fold it once a defence, note what the honest pay, then attack.

log or town ──> Site ──Warm.fold(on_step=Diary)──> honest figures, states at the starts ──> prices, runs
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recommender.attack import benchmark, honest, prices
from recommender.attack.arena import WARM_STEP_MS, Site, Warm
from recommender.attack.benchmark import Choice
from recommender.attack.synthetic import Town
from recommender.core.pipeline import Config

SYNTHETIC = "synthetic"
DATA_VARIABLE = "GROUNDSWELL_DATA"
MAIN_LOG = "globo_news.parquet"
FOLDED = ("none", "caps", "trust", "full")  # by these the honest are measured


def data_folder() -> Path:
    """Where real logs are, if there are any."""
    return Path(os.environ.get(DATA_VARIABLE) or Path(__file__).parents[3] / "shared" / "data")


def default_logs() -> list[str]:
    """The main real log, where there is one, and the invented town."""
    main = data_folder() / MAIN_LOG
    return [str(main)] * main.exists() + [SYNTHETIC]


def open_site(name: str, config: Config, *, limit: int | None, seed: int = 1) -> Site:
    """A log file, or the town."""
    if name == SYNTHETIC:
        return Site.of(SYNTHETIC, Town(seed=seed).make(), config)
    return Site.read(Path(name), config, limit=limit)


def measure(
    name: str,
    choice: Choice,
    config: Config,
    *,
    limit: int | None,
    is_honest: bool,
    on_record: Callable[[dict[str, Any]], Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Everything about one log: {"name", "records", "honest", "prices", "took_s"}."""
    began_at = time.monotonic()
    site = open_site(name, config, limit=limit)
    starts = site.starts(choice.seeds, seed=choice.seed)
    warm = Warm(site, starts)
    say(f"{site.name}: {len(site.batch):,} events, {choice.seeds} starts")
    end_ms = int(site.batch.received_ms[-1]) // WARM_STEP_MS * WARM_STEP_MS
    diaries: dict[str, honest.Diary] = {}
    for each in FOLDED:
        if each in choice.defences or each == "none":
            diaries[each] = honest.Diary(site)
            warm.fold(each, until_ms=end_ms if is_honest else None, on_step=diaries[each].note)
            say(f"{site.name}: {each} folded")
    found = {name: diary.summary() for name, diary in diaries.items()} if is_honest else {}
    if is_honest and "caps" in diaries:
        spikes = honest.find_spikes(site, until_ms=end_ms)
        for each, figures in found.items():
            figures["lateness"] = honest.lateness(honest.delays(spikes, diaries["caps"], diaries[each]))
        if {
            "trust",
            "full",
        } <= diaries.keys():  # of trust, which reorders the list, and screen: what the screen costs
            alone = honest.lateness(honest.delays(spikes, diaries["trust"], diaries["full"]))
            found["full"]["lateness_by_screen"] = alone
        say(f"{site.name}: {len(spikes)} spikes followed")
    priced = []
    if {"caps", "trust"} <= set(choice.defences):
        priced = [[asdict(price) for price in prices.measure(site, start_ms, warm)] for start_ms in starts]
        say(f"{site.name}: prices measured")
    records = []
    for record in benchmark.run(site, choice, warm, starts):
        records.append(record)
        on_record(record)
        if len(records) % 100 == 0:
            say(f"{site.name}: {len(records)} runs, at {record['defence']}, start {record['start']}")
    return {
        "name": site.name,
        "records": records,
        "honest": found,
        "prices": priced,
        "took_s": round(time.monotonic() - began_at, 1),
    }
