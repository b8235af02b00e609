"""Test candidates: read only, unseen items only, at once after a click.

They are the same candidates that the evaluation predicts with.
"""

from dataclasses import replace

import numpy as np
import pytest

from recommender.core.affinity.affinity import AffinityConfig
from recommender.core.config import Config
from recommender.core.pipeline import Pipeline
from recommender.core.ranking.bypass import MODES, Contest
from recommender.core.ranking.candidates import FEATURES, FROM_NEIGHBOURS, FROM_TREND, RankingConfig
from recommender.core.ranking.training_lists import learned
from recommender.core.screen.screen import admitted
from recommender.core.trend.trend_columns import PLACES
from recommender.core.vocabulary import Kind
from tests.help.streams import HOUR, MINUTE, SMALL, T0, TRUSTING, Stream, fold, readers
from tests.recommender.core.affinity.test_affinity import journeys

SHOWN = replace(SMALL, affinity=AffinityConfig(min_actors=2))


def two_worlds() -> Stream:
    """Build a stream of readers of two worlds, and of many who read only c.

    Readers of a-0 go on to a-1 and a-2, readers of b-0 to b-1 and b-2.
    """
    stream = Stream()
    for number in range(10):
        for world in "ab":
            for step in range(3):
                stream.add(T0 + 1000 * number + step, f"{world}-{number}", f"{world}-{step}")
    for number in range(40):
        stream.add(T0 + 11_000 + number, f"c-{number}", "c")
    return stream


def items(pipeline, candidates):
    return [pipeline.trend.names[row] for row in candidates.rows]


def test_each_world_is_recommended_its_own():
    config = replace(SHOWN, ranking=RankingConfig(blend=10))
    pipeline = fold(two_worlds().add(T0 + MINUTE, "ana", "a-0").add(T0 + MINUTE, "ben", "b-0"), config)
    assert items(pipeline, pipeline.candidates("ana"))[:2] == ["a-1", "a-2"]
    assert items(pipeline, pipeline.candidates("ben"))[:2] == ["b-1", "b-2"]


def test_a_stranger_gets_the_board():
    pipeline = fold(two_worlds(), SHOWN)
    candidates = pipeline.candidates("nobody")
    assert items(pipeline, candidates) == pipeline.board(100).items
    assert not candidates.features[:, FEATURES.index("affinity")].any()


def test_before_anything_is_learned_there_is_nothing():
    candidates = Pipeline(Config()).candidates("ana", recent=["x"])
    assert (len(candidates), candidates.features.shape) == (0, (0, len(FEATURES)))


def test_a_click_counts_at_once_before_it_is_learned():
    pipeline = fold(two_worlds(), replace(SHOWN, ranking=RankingConfig(blend=10)))
    before = pipeline.digest()
    assert items(pipeline, pipeline.candidates("ana"))[0] == "c"
    after = items(pipeline, pipeline.candidates("ana", recent=["a-0"]))
    assert after[0] == "a-1"
    assert "a-0" not in after
    assert pipeline.digest() == before


def test_what_the_actor_has_seen_is_left_out():
    pipeline = fold(two_worlds(), SHOWN)
    assert {"a-0", "a-1", "a-2"}.isdisjoint(items(pipeline, pipeline.candidates("a-3")))
    assert {"b-0", "b-1", "b-2", "c"} <= set(items(pipeline, pipeline.candidates("a-3")))


def test_reading_candidates_changes_nothing_and_answers_the_same():
    pipeline = fold(readers(), SHOWN)
    before = pipeline.digest()
    for actor in ("reader-1", "nobody"):
        one, other = pipeline.candidates(actor), pipeline.candidates(actor)
        one.features[:] = np.nan
        one.keys[:] = 0
        np.testing.assert_array_equal(other.keys, pipeline.candidates(actor).keys)
        assert np.isfinite(other.features).all()
    assert pipeline.digest() == before


@pytest.mark.parametrize("mode", MODES)
def test_what_is_recommended_goes_by_the_order_that_is_served(monkeypatch, mode):
    pipeline = fold(readers(), SHOWN)
    monkeypatch.setattr(Contest, "mode", mode)
    for number in range(20):
        known, served = (ask(f"reader-{number}") for ask in (pipeline.candidates, pipeline.recommend))
        by = pipeline.ranker.orders(learned(known, pipeline.config.ranking.blend))[:, MODES.index(mode)]
        order = np.argsort(-by, kind="stable")
        for name in ("keys", "rows", "features", "origins", "scores"):
            np.testing.assert_array_equal(getattr(served, name), getattr(known, name)[order])


def test_a_restored_pipeline_has_the_same_candidates():
    pipeline = fold(readers(), SHOWN)
    restored = Pipeline.from_bytes(pipeline.to_bytes())
    for number in range(20):
        one, other = pipeline.candidates(f"reader-{number}"), restored.candidates(f"reader-{number}")
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.features, other.features)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_features_say_where_a_candidate_comes_from():
    pipeline = fold(two_worlds().add(T0 + MINUTE, "ana", "a-0"), SHOWN)
    candidates = pipeline.candidates("ana")
    row = dict(zip(items(pipeline, candidates), range(len(candidates)), strict=True))
    feature = dict(zip(FEATURES, candidates.features[row["a-1"]], strict=True))
    assert candidates.origins[row["a-1"]] & FROM_NEIGHBOURS
    assert candidates.origins[row["a-1"]] & FROM_TREND
    assert not candidates.origins[row["c"]] & FROM_NEIGHBOURS
    assert feature["affinity"] == feature["affinity_last"] > candidates.features[row["a-2"], 5] > 0
    assert feature["support"] == pytest.approx(np.log2(11))
    assert (feature["is_neighbour"], feature["is_leader"]) == (1, 1)
    assert candidates.features[row["c"], FEATURES.index("trend")] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("config", [SHOWN, replace(TRUSTING, affinity=AffinityConfig(min_actors=1, min_weight=0.01))])
def test_an_item_is_predicted_at_the_place_its_candidates_give_it(config):
    stream = journeys(n_actors=200, n_items=50, length=6)
    pipeline = fold(Stream(stream.rows[:900]), config, every=50)
    n_hits = 0
    for row in stream.rows[900:1000]:
        listed = items(pipeline, pipeline.candidates(row[2]))
        # The steady list has no part in the prediction. At these sizes it holds the same items as the board.
        place = min(listed.index(row[3]) + 1, PLACES + 1) if row[3] in listed else PLACES + 1
        quality = pipeline.step(Stream([row]).batch(pipeline)).personalised
        assert quality.n == 1
        assert quality.places[place] == 1
        n_hits += quality.hits
    assert n_hits > 10


def test_what_an_actor_did_in_the_same_step_is_known_and_counts_nowhere_else():
    config = replace(SHOWN, ranking=RankingConfig(blend=10))
    pipeline = fold(two_worlds(), config)
    together = Stream().add(T0 + MINUTE, "ana", "a-0").add(T0 + MINUTE + 1, "ana", "a-1")
    result = pipeline.step(together.batch(pipeline))
    assert result.personalised.places[1] == 1  # a-1, since she had just read a-0
    one = fold(two_worlds(), config)
    one.step(Stream().add(T0 + MINUTE, "ana", "a-0").batch(one))
    alone = one.step(Stream().add(T0 + MINUTE + 1, "ben", "a-1").batch(one))
    assert alone.personalised.places[1] == 0


def test_questions_are_the_same_as_for_the_other_lists():
    stream = readers(n_events=1500)
    for number in range(300):
        kind = (Kind.UNDO, Kind.EXPOSURE, Kind.VIEW, Kind.PURCHASE)[number % 4]
        stream.add(T0 + HOUR + number, f"reader-{number % 20}", f"item-{number % 7}", kind)
    stream.rows.sort(key=lambda row: row[0])
    for config in (SHOWN, replace(SHOWN, canary_share=0.3)):
        evaluation = fold(stream, config, every=40).evaluation
        for population in ("all", "trusted", "canary"):
            questions = {name: evaluation.total(name, population).n for name in ("trending", "personalised")}
            assert questions["trending"] == questions["personalised"]


def test_without_a_blend_the_personalised_list_is_the_trend():
    evaluation = fold(readers(), replace(SHOWN, ranking=RankingConfig(blend=0))).evaluation
    np.testing.assert_array_equal(evaluation.total("personalised").places, evaluation.total("trending").places)


@pytest.mark.parametrize("wrong", [{"recall": ()}, {"recall": (2.0,)}, {"smoothing": 0.0}, {"blend": float("nan")}])
def test_a_ranking_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"recall|smoothing"):
        RankingConfig(**wrong)


def test_a_share_of_the_actors_is_asked_and_answers_as_if_all_were():
    stream = journeys(n_actors=200, n_items=50, length=6)
    batch = slice(900, 1000)
    asked = {}
    for share in (0.0, 0.3, 1.0):
        pipeline = fold(Stream(stream.rows[:900]), replace(SHOWN, personal_share=share), every=50)
        rows = Stream(stream.rows[batch]).batch(pipeline)
        events, *_ = pipeline.weights.weigh(rows, admitted(len(rows)))
        asked[share] = pipeline.ranking.predict(events, pipeline.stream_ms)
    is_asked = asked[0.3] != 0
    assert not asked[0.0].any()
    assert 0 < is_asked.sum() < (asked[1.0] != 0).sum()
    np.testing.assert_array_equal(asked[0.3][is_asked], asked[1.0][is_asked])


def test_lessons_do_not_depend_on_who_is_asked():
    one, other = (fold(readers(n_events=1500), replace(SHOWN, personal_share=share)) for share in (0.0, 1.0))
    assert one.ranker.n_lists == other.ranker.n_lists > 0
    np.testing.assert_array_equal(one.ranker.export().coefficients, other.ranker.export().coefficients)


def test_first_acts_are_those_that_predict_answers():
    stream = journeys(n_actors=200, n_items=50, length=6)
    pipeline = fold(Stream(stream.rows[:900]), SHOWN, every=50)
    again = Stream(stream.rows[890:960] + stream.rows[940:1000])  # earlier acts, and acts that are twice in the batch
    again.rows.sort(key=lambda row: row[0])
    rows = again.batch(pipeline)
    events, *_ = pipeline.weights.weigh(rows, admitted(len(rows)))
    is_first = pipeline.ranking.first_acts(events, np.arange(len(rows)))
    np.testing.assert_array_equal(is_first != 0, pipeline.ranking.predict(events, pipeline.stream_ms) != 0)
    assert 0 < is_first.sum() < len(rows)
    assert not pipeline.ranking.first_acts(events, np.empty(0, np.int64)).any()


def test_many_lists_are_gathered_as_one_by_one():
    stream = journeys(n_actors=200, n_items=50, length=6)
    pipeline = fold(Stream(stream.rows[:900]), SHOWN, every=50)
    rows = Stream(sorted(stream.rows[890:1000] + stream.rows[940:1000], key=lambda row: row[0])).batch(pipeline)
    events, *_ = pipeline.weights.weigh(rows, admitted(len(rows)))
    chosen, now_ms = np.arange(3, len(rows), 2), pipeline.stream_ms
    steady = pipeline.encoder.keys([f"item-{number}" for number in range(5)])
    found = pipeline.ranking.gather_many(events, chosen, now_ms, steady=steady)
    n_recent, start = 0, 0
    for place, (row, end) in enumerate(zip(chosen.tolist(), found.ends.tolist(), strict=True)):
        before = [each for each in range(row) if events.actor[each] == events.actor[row]]
        recent = events.item[before][::-1]
        n_recent += len(recent)
        one = pipeline.ranking.gather(int(events.actor[row]), now_ms, recent=recent, steady=steady)
        assert len(one) > 10
        np.testing.assert_array_equal(found.keys[start:end], one.keys)
        np.testing.assert_array_equal(found.features[start:end], one.features)
        np.testing.assert_array_equal(found.scores[start:end], one.scores)
        assert (found.of_list[start:end] == place).all()
        start = end
    assert start == len(found.keys)
    assert n_recent > 10


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_nothing_and_all(share):
    with pytest.raises(ValueError, match="from 0 to 1"):
        Pipeline(replace(SHOWN, personal_share=share))
