"""The arithmetic of a preview: the worth of acts, possible places, and bounds.

The bounds are compared with the real counts of a Trend.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitoring.findings import act_weights, actor_likeness, decision_previews
from monitoring.findings.actor_history import Seen
from monitoring.findings.decision_previews import Knees, Unit, confirmed, released
from recommender.core.config import Config
from recommender.core.events import Encoder
from recommender.core.pipeline import Pipeline
from recommender.core.tables.decay import TICKS
from recommender.core.trend.trend import KNEE_TICK_BITS
from recommender.core.vocabulary import Kind
from recommender.log.lookups import Act
from recommender.publishing.published_boards import PublishedBoard

HALF_LIFE_S = 300
NOW_MS = 1_700_000_000_000
RULES = act_weights.WeighingRules(
    weights={kind: 0.25 if kind == Kind.VIEW else 1.0 for kind in Kind},
    floor=0.05,
    horizon_ms=86_400_000,
    lateness_ms=86_400_000,
    is_canary=lambda actor: actor == "canary",
)


def board(**scores) -> PublishedBoard:
    ranked = sorted(scores.items(), key=lambda each: -each[1])
    names, counts = [name for name, _ in ranked], [round(1000 * score) for _, score in ranked]
    return PublishedBoard(1, names, counts, 1000, 50, stream_ms=NOW_MS)


def preview(of: PublishedBoard, item: str, *units: Unit):
    return released(of, item, units, half_life_s=HALF_LIFE_S, knees=Knees())


KEYS = Encoder(b"of this test")


def act(actor, *, item="x", seq=1, verdict=1, kind=Kind.CLICK, at_ms=NOW_MS, ip="192.0.2.1", agent=None):
    keys = KEYS.address_key(ip), KEYS.context_key(agent)
    return Act(actor, item, int(kind), at_ms, at_ms, 1, seq, ip, agent, None, verdict, None, None, *keys)


def seen(*acts, is_all=True):
    return {
        actor: Seen(actor, [each for each in acts if each.actor == actor], is_all)
        for actor in {a.actor for a in acts}
    }


def test_an_act_is_worth_half_after_a_half_life():
    unit = Unit(1.0, NOW_MS - 1000 * HALF_LIFE_S, 1.0, NOW_MS - 1000 * HALF_LIFE_S)
    outcome = preview(board(a=3, b=1), "x", unit)
    assert outcome.least == pytest.approx(0.5, rel=0.01)
    assert outcome.most == pytest.approx(0.5, rel=0.01)
    assert (outcome.place, outcome.best, outcome.worst) == (None, 3, 3)


def test_what_is_not_known_of_trust_becomes_a_span_of_places():
    outcome = preview(board(a=3, b=2, c=1), "x", *[Unit(0.05, NOW_MS, 1.0, NOW_MS)] * 3)
    assert (outcome.best, outcome.worst) == (1, 4)


def test_of_equals_the_one_who_stands_there_stays():
    outcome = preview(board(a=1), "x", Unit(1.0015, NOW_MS, 1.0015, NOW_MS))
    assert (outcome.best, outcome.worst) == (1, 2)


def test_nothing_to_add_changes_nothing():
    outcome = preview(board(a=3, x=2), "x")
    assert not outcome.changes
    assert (outcome.place, outcome.best, outcome.worst, outcome.score) == (2, 2, 2, 2.0)


def test_what_is_taken_out_takes_its_weight_at_most():
    outcome = confirmed(board(a=3, x=2, b=1), "x", [Unit(0, 0, 1.5, NOW_MS)], half_life_s=HALF_LIFE_S)
    assert (outcome.best, outcome.worst) == (2, 3)
    assert outcome.least == pytest.approx(0.5, rel=0.01)
    assert confirmed(board(x=1), "x", [Unit(0, 0, 9.0, NOW_MS)], half_life_s=HALF_LIFE_S).worst is None


@settings(max_examples=40)
@example(before=[0, 0, 0], added=[0, 0, 0], has_address=True)  # the trend's knees lag by a slot
@example(before=[], added=[0] * 150, has_address=True)
@given(
    before=st.lists(st.integers(0, 3), max_size=60),
    added=st.lists(st.integers(0, 3), min_size=1, max_size=150),
    has_address=st.booleans(),
)
def test_the_real_count_lies_within_the_bounds_wherever_the_acts_come_from(before, added, has_address):
    """Use accounts of full trust (a floor of 1) from few networks, to bend the knees."""
    config = Config(trust=Config().trust.__class__(floor=1.0), canary_share=0.0)
    pipeline = Pipeline(config)

    def step(networks, name, at_ms):
        ips = [f"198.51.{each}.7" for each in networks] if has_address else None
        n = len(networks)
        batch = pipeline.encode(
            received_ms=np.full(n, at_ms), actors=[f"{name}-{each}" for each in range(n)], items=["x"] * n, ips=ips
        )
        pipeline.trend.advance(at_ms)
        events, _, _ = pipeline.weights.weigh(batch, _admitted(n))
        pipeline.trend.learn(events, pipeline.evaluation.shown(pipeline.trend.leaders()[:0], n), batch.item_names)

    if before:
        step(before, "old", NOW_MS)
    pipeline.trend.advance(NOW_MS)
    trend = pipeline.trend
    of = PublishedBoard(
        1, ["x"] if before else [], [int(n) for n in trend.counts()], trend.unit(NOW_MS), 1, stream_ms=NOW_MS
    )
    outcome = preview(of, "x", *[Unit(1.0, NOW_MS, 1.0, NOW_MS, has_address)] * len(added))
    step(added, "new", NOW_MS)
    score = trend.counts()[0] / trend.unit(NOW_MS)
    assert outcome.least <= score <= outcome.most


def test_the_knees_lag_as_the_trend_moves_them():
    assert decision_previews.KNEE_LAG == 2 ** -(2**KNEE_TICK_BITS / TICKS)


def _admitted(n):
    from recommender.core.screen.screen import admitted

    return admitted(n)


def test_a_new_account_weighs_the_floor_and_nothing_else():
    one = act("mal")
    (unit,) = act_weights.to_release([one], seen(one), RULES)["x"]
    assert (unit.least, unit.most) == (0.05, pytest.approx(0.05))


@pytest.mark.parametrize(
    "more",
    [
        {"others": [act("mal", seq=2, verdict=None)]},  # its unit may count already
        {"is_all": False},
        {"actor": "canary"},
        {"others": [act("mal", seq=2, kind=Kind.UNDO, verdict=None)]},
    ],
)
def test_where_something_is_not_known_nothing_is_added_for_sure(more):
    one = act(more.get("actor", "mal"))
    known = seen(one, *more.get("others", ()), is_all=more.get("is_all", True))
    (unit,) = act_weights.to_release([one], known, RULES)["x"]
    assert unit.least == 0
    assert unit.most > 0


def test_an_undo_that_is_held_may_take_away():
    undo, click = act("mal", kind=Kind.UNDO), act("mal", seq=2, verdict=None)
    (unit,) = act_weights.to_release([undo], seen(undo, click), RULES)["x"]
    assert unit.least < 0


def test_a_confirmation_takes_out_what_counts_and_nothing_else():
    held, counting = act("mal"), act("eve", verdict=0, seq=2)
    units = act_weights.to_confirm([held, counting], seen(held, counting), RULES)["x"]
    assert [unit.most for unit in units] == [pytest.approx(0.05)]
    other = act("mal", seq=3, verdict=None)  # not in the finding, but on its item
    assert len(act_weights.to_confirm([held], seen(held, other), RULES)["x"]) == 1


def test_what_they_have_in_common_is_told_beside_the_site():
    crowd = [act(f"mal-{n}", at_ms=NOW_MS + 1000 * n, agent="bot 1") for n in range(10)]
    readers = [
        act(f"ana-{n}", at_ms=NOW_MS - 60_000 * n, ip=f"192.0.{n}.1", agent=f"browser {n}", item="y")
        for n in range(10)
    ]
    told = {
        each.says.split(":")[0]: each
        for each in actor_likeness.likenesses(crowd, seen(*crowd), readers, seen(*readers), began_ms=NOW_MS)
    }
    assert (told["come from one network"].share, told["come from one network"].usual) == (1.0, 0.1)
    assert told["use exactly the same browser"].is_unusual
    assert not told["acted on no other item"].is_unusual
    assert actor_likeness.pace(crowd).gap_s == 1.0
    assert actor_likeness.pace(readers[:3]) is None
