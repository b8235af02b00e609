"""Parts of the Pipeline that `core.warmup` compiles in several processes.

    PARTS   have almost no loop in common, the slowest first
    REST    call the loops of all of them and some more, so they come after them

Numba compiles a loop when it is called, for the arguments it is called with. So each part runs as the Pipeline runs
it, on a few events, and its results are thrown away.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recommender.core.affinity.published_links import published_links
from recommender.core.config import small_config
from recommender.core.decisions import DecidedEvents
from recommender.core.events import EventBatch
from recommender.core.health_figures import watch
from recommender.core.pipeline import Pipeline
from recommender.core.screen import ScreenConfig
from recommender.core.trend import count_breakdowns
from recommender.core.trend.clickers import Clickers
from recommender.core.trend.trend_columns import CHANGED, Events, Units
from recommender.core.trust import WEIGHT_ONE, TrustConfig
from recommender.core.vocabulary import HOUR_MS, Kind, Ruling

Parts = tuple[Callable[[], None], ...]

_T0 = 1_767_571_200_000
_N = 3000
_CONFIG = small_config(
    half_lives_s=(300, 3600),
    trust=TrustConfig(),
    screen=ScreenConfig(cold_events=200, fit_rows=20, fit_every_s=600, fit_after_s=60),
    canary_share=0.1,
)


def _site(pipeline: Pipeline) -> EventBatch:
    """Return two hours of readers, and two pushes by the same new accounts.

    Each reader has an address.
    """
    rng = np.random.default_rng(1)
    at = rng.integers(0, 7200, _N)
    actors = [f"reader-{number}" for number in rng.integers(0, 300, _N)]
    items = [f"item-{number}" for number in (60 * rng.random(_N) ** 3).astype(int)]
    ips = [f"10.{hash_ % 5}.{hash_ % 40}.{hash_ % 250}" for hash_ in rng.integers(0, 1000, _N)]
    kinds = np.where(rng.random(_N) < 0.03, Kind.UNDO, Kind.CLICK)
    for number, start in enumerate((4000, 5200)):
        at = np.concatenate([at, start + rng.integers(0, 50, 40)])
        actors += [f"mal-{bot}" for bot in range(40)]
        items += [f"push-{number}"] * 40
        ips += ["11.0.0.1"] * 40
        kinds = np.concatenate([kinds, np.full(40, Kind.CLICK)])
    order = np.argsort(at, kind="stable")
    return pipeline.encode(
        received_ms=_T0 + 1000 * at[order],
        actors=[actors[row] for row in order],
        items=[items[row] for row in order],
        kind=kinds[order].astype(np.int8),
        country=(order % 3).astype(np.int16),
        ips=[ips[row] for row in order],
    )


def _start() -> tuple[Pipeline, EventBatch, Events]:
    pipeline = Pipeline(_CONFIG)
    batch = _site(pipeline)[:100]
    weight = np.full(len(batch), WEIGHT_ONE, np.int32)
    own = batch.occurred_ms, batch.actor, batch.item, batch.kind, batch.country, batch.prefix, weight
    return pipeline, batch, Events(batch.received_ms, *own)


def compile_screen() -> None:
    """Compile features, rules and forests."""
    pipeline, batch, _ = _start()
    pipeline.screen.judge(batch, pipeline.trend.trusted, 0, _T0)


def compile_trend() -> None:
    """Compile the counts, their removal, evaluation and drift."""
    pipeline, batch, events = _start()
    trend = pipeline.trend
    trend.advance(_T0)
    shown = pipeline.evaluation.shown(trend.leaders(), len(batch))
    ranks, _ = trend.learn(events, shown, batch.item_names)
    trend.retract(batch.actor, batch.item)
    pipeline.evaluation.learn(ranks, np.zeros(len(batch), np.int8), np.zeros(len(batch), np.int8))
    pipeline.drift.learn(ranks, _T0)


def compile_affinity() -> None:
    """Compile the links between items."""
    pipeline, batch, _ = _start()
    n = len(batch)
    pipeline.affinity.advance(_T0)
    units = Units(np.full(n, CHANGED, np.int8), np.full(n, WEIGHT_ONE, np.int32), batch.received_ms)
    pipeline.affinity.learn(batch.actor, batch.item, units)
    pipeline.affinity.retract(batch.actor, batch.item)


def compile_ranking() -> None:
    """Compile the candidates for an actor, and their order."""
    pipeline, _, events = _start()
    pipeline.affinity.advance(_T0)
    pipeline.ranking.predict(events, _T0)
    pipeline.ranking.first_acts(events, pipeline.ranker.draw(events.actor, events.item, len(events.actor)))
    pipeline.ranking.gather_many(events, np.arange(1), _T0)
    recent = pipeline.encoder.keys(["item-1"])
    pipeline.ranking.gather(pipeline.encoder.key("reader-1"), _T0, recent=recent, steady=recent)


def compile_forests() -> None:
    """Compile fitting and walking the trees."""
    forests = Pipeline(_CONFIG).screen.forests
    rows = np.random.default_rng(1).random((100, forests.reservoir.rows.shape[1]))
    forests.learn(rows, np.ones(100, np.uint8))
    forests.advance(_T0)
    forests.advance(_T0 + HOUR_MS)
    forests.flag(rows, np.ones(100, np.int32), 1)
    forests.p_values(rows)


def compile_attacked() -> None:
    """Compile a small whole: all loops of a worker's steps, decisions included."""
    pipeline = Pipeline(_CONFIG)
    site = _site(pipeline)
    for start in range(0, len(site), 100):
        pipeline.step(site[start : start + 100])
    nothing = pipeline.encode(received_ms=[], actors=[], items=[])
    pipeline.step(nothing, [DecidedEvents(ruling, site[:50]) for ruling in Ruling])


def compile_reading() -> None:
    """Compile the loops that publishers, previews and an erasure call."""
    learned = Pipeline(replace(_CONFIG, screen=ScreenConfig(is_on=False)))
    learned.step(_site(learned)[:300])
    pipeline = Pipeline.from_bytes(learned.to_bytes())
    clickers = Clickers(100)
    clickers.refresh(pipeline.trend)
    clickers.sizes(pipeline.trend)
    watch(pipeline)
    published_links(pipeline.affinity, pipeline.trend, pipeline.stream_ms, _CONFIG.ranking.smoothing)
    key = pipeline.encoder.key("item-1")
    pipeline.affinity.neighbours(key, pipeline.stream_ms)
    pipeline.affinity.link(key, pipeline.encoder.key("item-2"))
    pipeline.affinity.counts()
    count_breakdowns.region_counts(pipeline.trend, 1)
    count_breakdowns.contributions(pipeline.trend, "item-1")
    pipeline.recommend("reader-1", ["item-1"])
    pipeline.forget(pipeline.encoder.key("reader-1"))


PARTS: Parts = (compile_trend, compile_screen, compile_affinity, compile_ranking, compile_forests)
REST: Parts = (compile_attacked, compile_reading)
