"""Near-duplicate sessions: replays show in the window of what was spliced in, habits of a whole site do not."""

import numpy as np
import pytest

from recommender.core import feature_tables as fk
from recommender.core.features import acts_of
from recommender.core.forests import ENTITIES
from recommender.core.near_duplicates import LEAST, duplicate
from recommender.core.pipeline import Pipeline
from recommender.core.screen import ScreenConfig
from tests.streams import HOUR, MINUTE, SCREENED, T0, Stream

ATTACK_AT = T0 + 90 * MINUTE
VISIT = [f"item-{n}" for n in (3, 17, 40, 58, 9)]  # what was captured, and is replayed
COUNTS = slice(fk.I_BAND_COUNTS, fk.I_BAND_COUNTS + fk.N_BAND_COUNTERS)


def visit(stream, actor, items, at_ms, rng):
    """One reading after the other, with a person's pauses."""
    for item in items:
        stream.add(at_ms, actor, item)
        at_ms += int(rng.lognormal(9.5, 0.7))


def site(n_readers=600, fixed=(), *, seed=1):
    """Visits of three to seven items by newcomers, over two hours; some items are far more read than others. Every
    visit has the `fixed` items in it, in any order."""
    stream, rng = Stream(), np.random.default_rng(seed)
    popularity = 1 / np.arange(5, 305)
    popularity /= popularity.sum()
    for reader in range(n_readers):
        n = max(int(rng.integers(3, 8)) - len(fixed), 2)
        items = [f"item-{n}" for n in rng.choice(300, n, replace=False, p=popularity)]
        items = rng.permutation([*fixed, *items]).tolist()
        visit(stream, f"reader-{reader}", items, T0 + int(rng.integers(0, 2 * HOUR)), rng)
    return stream


def replay(stream, n, spliced_at, *, is_permuted=False, items=VISIT, seed=2):
    """Mal's new accounts, all with the same visit, the target at the place `spliced_at(rng)` of it."""
    rng = np.random.default_rng(seed)
    for bot in range(n):
        visited = rng.permutation(items).tolist() if is_permuted else list(items)
        visited.insert(spliced_at(rng), "target")
        visit(stream, f"mal-{bot}", visited, ATTACK_AT + int(rng.integers(0, 10 * MINUTE)), rng)
    return stream


def observed(stream, *, batch=500, down_at=None):
    """`duplicate` as every event of a folded stream met it, the events' items, and the Pipeline. With `down_at` that is
    written down before that row, and made anew."""
    stream.rows.sort(key=lambda row: row[0])
    pipeline, pieces = Pipeline(SCREENED), []

    def step(batch):
        observe = pipeline.screen.features.observe

        def watched(*args):
            answer = observe(*args)
            pieces.append(answer[0][:, fk.DUPLICATE])
            return answer

        pipeline.screen.features.observe = watched
        pipeline.step(batch)
        pipeline.screen.features.observe = observe

    for start in range(0, len(stream.rows), batch):
        if start == down_at:
            pipeline = Pipeline.from_bytes(pipeline.to_bytes())
        step(stream.batch(pipeline, start, start + batch))
    return np.concatenate(pieces), np.array([row[3] for row in stream.rows]), pipeline


def window(pipeline, item):
    """The row of an item's window, a copy."""
    batch = Stream().add(T0, "ana", item).batch(pipeline)
    features = pipeline.screen.features
    return features.windows[features.item_rows(batch.item)[0]].copy()


def last(item):
    return lambda rng: len(VISIT)


def anywhere(rng):
    return int(rng.integers(0, len(VISIT) + 1))


@pytest.mark.parametrize("is_permuted", [False, True])
@pytest.mark.parametrize("spliced_at", [lambda rng: len(VISIT), lambda rng: int(rng.integers(2, len(VISIT) + 1))])
def test_thirty_new_accounts_with_one_visit_show_in_the_window_of_the_target(spliced_at, is_permuted):
    found, items, _ = observed(replay(site(), 30, spliced_at, is_permuted=is_permuted))
    print(found[items == "target"][-5:], np.sort(found[items != "target"])[-5:])
