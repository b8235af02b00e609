"""The whole benchmark of one log: first what the honest pay, then the attacks.

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


def measure_honest(site: Site, choice: Choice, say: Callable[[str], None]) -> dict[str, Any]:
    """What each defence costs the readers of the whole log. Machines that no defence should count are left out, lest
    a list without them look late beside one that counts them."""
    site = site.without_machines()
    end_ms = int(site.batch.received_ms[-1]) // WARM_STEP_MS * WARM_STEP_MS
    diaries: dict[str, honest.Diary] = {}
    for name in FOLDED:
        if name in choice.defences or name in ("none", "caps"):
            diaries[name] = honest.Diary(site)
            Warm(site, [end_ms]).fold(name, on_step=diaries[name].note)
            say(f"{site.name}: {name} folded, without an attack")
    found = {name: diary.summary() for name, diary in diaries.items()}
    spikes = honest.find_spikes(site, until_ms=end_ms)
    for name, figures in found.items():
        figures["lateness"] = honest.lateness(honest.delays(spikes, diaries["caps"], diaries[name]))
    if {"trust", "full"} <= diaries.keys():  # of trust, which reorders the list, and screen: what the screen costs
        alone = honest.lateness(honest.delays(spikes, diaries["trust"], diaries["full"]))
        found["full"]["lateness_by_screen"] = alone
    say(f"{site.name}: {len(spikes)} spikes followed")
    return found


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
    found = measure_honest(site, choice, say) if is_honest else {}
    for each in FOLDED:
        if each in choice.defences or each == "none":
            warm.fold(each)
            say(f"{site.name}: {each} folded")
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
