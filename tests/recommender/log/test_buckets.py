"""Test that every event belongs to one shard, by any version's bucket."""

from collections import Counter

import numpy as np
import pytest

from recommender import ids
from recommender.log import event_log, lookups
from recommender.log.buckets import N_BUCKETS, bucket_of, buckets_in, buckets_of
from recommender.log.event_log import Position, shard_of, shards_of
from tests.help import version_0_1
from tests.help.log_rows import actors_of, clicks, events

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_log")]

SHARDS = 3


def read(shard, *, limit=1000, step=1000, until=None):
    """Return the events of a shard in order, read in slices of `step`."""
    position, found = Position(), []
    while len(found) < limit:
        part = event_log.read(after=position, since_ms=0, limit=step, until=until, shard=shard, shards=SHARDS)
        if not part:
            break
        found += list(zip(actors_of(part), part.seq.tolist(), strict=True))
        position = part.end
    return found


@pytest.fixture
def mixed(empty_log):
    """Fill a log before and after the migration.

    First come old rows, then rows of old and new processes in turn.
    """
    version_0_1.append(clicks(100))
    with version_0_1.migrated():
        for start in range(100, 200, 20):
            version_0_1.append(clicks(20, start=start))
            event_log.append(clicks(20, start=start + 100))
        yield


def test_buckets_are_the_first_bits_of_a_key():
    keys = [ids.encoder().key(f"actor-{number}") for number in range(1000)]
    assert buckets_of(np.array(keys, np.uint64)).tolist() == [bucket_of(key) for key in keys]
    counts = Counter(map(bucket_of, keys))
    assert len(counts) == N_BUCKETS
    assert max(counts.values()) < 40
    assert sorted(bucket for shard in range(SHARDS) for bucket in buckets_in(shard, SHARDS)) == list(range(N_BUCKETS))


def test_no_one_can_fill_a_shard_without_the_secret(settings):
    names = [f"bot-{number}" for number in range(20_000)]
    chosen = [name for name in names if version_0_1.old_bucket(name) == 0]
    assert len({shard_of(name, 64) for name in chosen}) > 50
    before = [shard_of(name, 64) for name in chosen]
    settings.SECRET_KEY = "another secret key, of at least 32 characters"
    assert [shard_of(name, 64) for name in chosen] != before


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("step", [1000, 7, 1])
def test_every_event_belongs_to_one_shard_however_it_is_read(step):
    parts = [read(shard, step=step) for shard in range(SHARDS)]
    assert sorted(seq for part in parts for _, seq in part) == sorted(
        event_log.read(after=Position(), since_ms=0, limit=1000).seq.tolist()
    )
    assert sum(map(len, parts)) == 300
    for shard, part in enumerate(parts):
        old, new = part[: sum(seq <= part[0][1] + 99 for _, seq in part)], part
        assert all(
            shard == (version_0_1.old_bucket(actor) % SHARDS if int(actor[6:]) < 100 else shard_of(actor, SHARDS))
            for actor, _ in [*old, *new]
        )


@pytest.mark.usefixtures("mixed")
@pytest.mark.parametrize("step", [1000, 7])
def test_a_known_range_gives_the_same_events_again(step):
    first = read(1, step=step)
    end = event_log.read(after=Position(), since_ms=0, limit=1000, shard=1, shards=SHARDS).end
    version_0_1.append(clicks(30, start=500))
    event_log.append(clicks(30, start=600))
    assert read(1, step=step, until=end) == first


@pytest.mark.usefixtures("mixed")
def test_a_limit_counts_only_the_shards_own_events():
    """Check a slice that old processes fill with events of other shards."""
    for shard in range(SHARDS):
        whole = event_log.read(after=Position(), since_ms=0, limit=1000, shard=shard, shards=SHARDS)
        for limit in (1, 40, 60, len(whole)):
            part = event_log.read(after=Position(), since_ms=0, limit=limit, shard=shard, shards=SHARDS)
            assert part.seq.tolist() == whole.seq[:limit].tolist()
            assert not part.is_end
        assert whole.is_end


def test_a_chart_leaves_out_events_whose_shard_sql_cannot_tell():
    with version_0_1.migrated():
        version_0_1.append(clicks(20))
        event_log.append(clicks(3, start=20))
        asked = {"item": "story", "looked_at": 100, "back_s": 3600, "n_bars": 1}
        counts = [lookups.count_newest_on(**asked, shards=shards) for shards in (1, SHARDS)]
    assert [sum(bar.waiting for bar in count.bars) for count in counts] == [23, 3]


def test_an_actor_of_an_older_log_may_be_in_two_shards():
    actors = [f"actor-{number}" for number in range(50)]
    assert all(shards_of(actor, SHARDS) == [shard_of(actor, SHARDS)] for actor in actors)
    event_log.append(events(["first"], ["x"]))
    with version_0_1.migrated():
        for actor in actors:
            both = [shard_of(actor, SHARDS), version_0_1.old_bucket(actor) % SHARDS]
            assert shards_of(actor, SHARDS) == list(dict.fromkeys(both))
        assert any(len(shards_of(actor, SHARDS)) == 2 for actor in actors)
        assert all(shards_of(actor, 1) == [0] for actor in actors)
