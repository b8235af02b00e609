"""A database goes back to yesterday, and its object store does not.

yesterday ──> a day of checkpoints and of thinning, which the recovered tables know nothing of
     └──────> the recovered database, with the same store
"""

from datetime import timedelta
from typing import NamedTuple

import pytest
from django.db.models import F

from recommender.learning import fresh_fold, learner
from recommender.learning.checkpoints import thinning
from recommender.learning.checkpoints.retention_tiers import Tier
from recommender.log import event_log
from recommender.models import Checkpoint, Learner, Piece
from tests.help.clusters import Cluster, django_on, made, migrate
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks
from tests.help.object_stores import local_store
from tests.help.patience import wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "fresh_process", "small_pieces"),
]

N = 5  # events a step
KEEP_DAYS = 7


class Yesterday(NamedTuple):
    """The rows of the database at the moment that it is taken back to."""

    n_events: int
    step: int
    checkpoint_id: int
    names: set[str]


@pytest.fixture
def bucket(settings):
    with local_store() as found:
        settings.CHECKPOINT_STORE = found.url
        settings.BACKUP_KEEP_DAYS = KEEP_DAYS
        settings.CHECKPOINT_FORK = False
        settings.CHECKPOINT_SCHEDULE = (Tier(1e-5, 3600),)  # of those older than an hour only the newest stays
        yield found


@pytest.fixture
def old():
    with made(wal_level="replica", max_wal_senders="4", archive_mode="on") as cluster:
        archive = cluster.folder("archive")
        cluster.execute(f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'")
        cluster.execute("SELECT pg_reload_conf()")
        cluster.archive = archive
        with django_on(cluster):
            migrate()
        yield cluster


def learned(n_steps: int, item: str) -> None:
    """Accept events and learn them, with a checkpoint after each step."""
    for _ in range(n_steps):
        n = len(rows())
        event_log.append(clicks(N, start=n, item=item))
        wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == n + N)  # noqa: B023 - called at once
        while Learner.objects.get().n_events < n + N:
            learner.learn(0)
    assert active().step == Learner.objects.get().step


def rows() -> list[tuple]:
    return event_log.fetch_all("SELECT seq FROM recommender_event", [])


def active() -> Checkpoint:
    return Learner.objects.select_related("checkpoint").get().checkpoint


def names(checkpoints=None) -> set[str]:
    """Return the pieces of these checkpoints, or of all."""
    named = Checkpoint.objects.all() if checkpoints is None else checkpoints
    return {bytes(each).hex() for row in named for each in row.pieces}


def pass_days(n: int) -> None:
    """Thin as it would be done after so many days, instead of waiting for them."""
    past = timedelta(days=n, minutes=1)
    Checkpoint.objects.update(created_at=F("created_at") - past)
    thinning.thin_checkpoints(0)
    thinning.thin_pieces()  # notes what has lost its name
    Piece.objects.filter(unnamed_at__isnull=False).update(unnamed_at=F("unnamed_at") - past)
    thinning.thin_pieces()


def back_up(old: Cluster, base) -> Yesterday:
    """Copy the server between two steps, and name the moment after the second one."""
    with django_on(old):
        learned(2, "before the copy")
        old.run("pg_basebackup", "--checkpoint=fast", f"--pgdata={base}/data")
        learned(1, "after the copy")
        row = Learner.objects.get()
        old.execute("SELECT pg_create_restore_point('yesterday')")
        return Yesterday(len(rows()), row.step, row.checkpoint_id, names())


def recover(old: Cluster, new: Cluster, base) -> None:
    """Start the copy, and let it go on to yesterday."""
    (segment,) = old.execute("SELECT pg_walfile_name(pg_switch_wal())")[0]
    wait_for((old.archive / segment).exists)
    old.stop()
    (base / "data").rename(new.data)
    (new.data / "recovery.signal").touch()
    new.options = {
        "restore_command": f"cp {old.archive}/%f %p",
        "recovery_target_name": "yesterday",
        "recovery_target_action": "promote",
    }
    new.start()
    wait_for(lambda: not new.execute("SELECT pg_is_in_recovery()")[0][0])


def goes_on_from(yesterday: Yesterday, bucket) -> None:
    """Accept and learn more, and check that nothing is lost or repeated."""
    learned(3, "instead")
    row = Learner.objects.get()
    assert row.n_events == yesterday.n_events + 3 * N == len(rows())
    assert warm().n_events == row.n_events
    digest = warm().digest()
    assert fresh_fold.verify(active()) == active().digest == digest
    pass_days(30)
    assert names() <= bucket.names()
    assert {each.hex() for each in map(bytes, Piece.objects.values_list("hash", flat=True))} == names()
    restart()
    assert learner.learn(0) == 0
    assert warm().digest() == digest
    learned(1, "last")
    assert fresh_fold.verify(active()) == active().digest == warm().digest()


@pytest.mark.parametrize("n_days", [1, KEEP_DAYS])
def test_a_recovered_database_finds_the_pieces_that_its_tables_name(old, bucket, caplog, n_days):
    is_kept = n_days < KEEP_DAYS
    with made(is_started=False) as new:
        new.folder("postgres")
        base = old.folder("base")
        yesterday = back_up(old, base)
        with django_on(old):
            learned(3, "abandoned")
            abandoned = set(Checkpoint.objects.filter(step__gt=yesterday.step).values_list("digest", flat=True))
            pass_days(n_days)
            assert Checkpoint.objects.count() == 1
            own = yesterday.names - names()
            newer = names() - yesterday.names
            assert own
            assert newer
            assert bucket.names() & own == (own if is_kept else set())
        recover(old, new, base)
        caplog.clear()
        with django_on(new):
            assert (len(rows()), names()) == (yesterday.n_events, yesterday.names)
            assert active().pk == yesterday.checkpoint_id
            assert learner.learn(0) == 0
            assert ("cannot be read" in caplog.text) is not is_kept
            assert ("whole log is folded again" in caplog.text) is not is_kept
            if is_kept:
                assert f"restored at step {yesterday.step} from checkpoint {yesterday.checkpoint_id}" in caplog.text
            assert warm().n_events == yesterday.n_events
            assert warm().digest() == active().digest == fresh_fold.verify(active())
            caplog.clear()
            goes_on_from(yesterday, bucket)
            assert "cannot be read" not in caplog.text
            assert not Checkpoint.objects.filter(digest__in=abandoned).exists()
            assert newer <= bucket.names()  # no table names them, so no thinner deletes them
