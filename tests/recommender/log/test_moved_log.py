"""Every acknowledged event is learned once, however the database is moved."""

import pytest
from django.db import connection

from recommender.learning import fresh_fold, learner
from recommender.log import event_log, origin
from recommender.models import Checkpoint, Item, Learner
from tests.help.clusters import Cluster, django_on, made, migrate
from tests.help.learner_process import keep, restart, warm
from tests.help.log_rows import clicks
from tests.help.patience import wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "fresh_process"),
]

N_LEARNED, N_WAITING, N_NEW = 10, 5, 7


def begin(cluster: Cluster) -> None:
    """Accept events on a new server, and learn some of them."""
    with django_on(cluster):
        migrate()
        event_log.append(clicks(N_LEARNED, item="learned"))
        assert learner.learn(0) == N_LEARNED
        event_log.append(clicks(N_WAITING, item="waiting"))
        Item.objects.create(id="before")


def goes_on(cluster: Cluster, *, generation: int, n_waiting: int = N_WAITING, database: str = "groundswell") -> None:
    """Accept and learn more on the server that the log was moved to.

    Check that nothing is lost or repeated.
    """
    with django_on(cluster, database):
        n_before = Learner.objects.get().n_events
        seqs = {seq for (seq,) in rows("seq")}
        highest = max(int(xid) for (xid,) in rows("xid::text"))
        event_log.append(clicks(N_NEW, item="new"))
        new = [row for row in rows("xid::text::bigint, seq") if row[1] not in seqs]
        assert len(new) == N_NEW
        assert min(new) > (highest, max(seqs))
        assert learned_all() == n_waiting + N_NEW
        assert Learner.objects.get().n_events == n_before + n_waiting + N_NEW == len(rows("seq"))
        assert origin.current().generation == generation == new[0][0] >> 48
        Item.objects.create(id="after")
        assert Item.objects.get(id="after").changed_xid > Item.objects.get(id="before").changed_xid
        digest = warm().digest()
        newest = Checkpoint.objects.latest("id")
        assert fresh_fold.verify(newest) == newest.digest == digest
        ids = set(Checkpoint.objects.values_list("id", flat=True))
        assert len(ids) == Checkpoint.objects.count()
        restart()
        assert learner.learn(0) == 0
        assert warm().digest() == digest
    cluster.stop()
    cluster.start()
    with django_on(cluster, database):  # a second restart changes nothing
        assert learner.learn(0) == 0
        assert warm().digest() == digest
        assert origin.current().generation == generation
        event_log.append(clicks(1, item="last"))
        assert learned_all() == 1


def rows(columns: str) -> list[tuple]:
    return event_log.fetch_all(f"SELECT {columns} FROM recommender_event", [])


def learned_all() -> int:
    """Learn until nothing waits, and return the number of events.

    Other transactions of the server, as those of autovacuum, may delay the log for a moment.
    """
    n_before, n = Learner.objects.get().n_events, len(rows("seq"))
    wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == n)
    while Learner.objects.get().n_events < n:
        learner.learn(0)
    return Learner.objects.get().n_events - n_before


@pytest.fixture
def old():
    with made(wal_level="logical", max_wal_senders="4") as cluster:
        yield cluster


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_dump_is_restored_on_a_server_whose_counter_is_lower_or_higher(old, is_ahead):
    with made() as new:
        (new if is_ahead else old).spend_transactions(5_000)
        begin(old)
        dump = old.folder("dump") / "groundswell.dump"
        old.run("pg_dump", "--format=custom", f"--file={dump}")
        old.stop()
        dump.parent.chmod(0o755)
        new.run("pg_restore", "--dbname=groundswell", dump)
        with django_on(new):
            (learned_to,) = Learner.objects.values_list("xid", flat=True)
        assert (new.counter() > learned_to) is is_ahead
        goes_on(new, generation=1)


def test_a_dump_is_restored_into_another_database_of_the_same_server(old):
    begin(old)
    dump = old.folder("dump") / "groundswell.dump"
    old.run("pg_dump", "--format=custom", f"--file={dump}")
    old.run("createdb", "second")
    old.run("pg_restore", "--dbname=second", dump)
    goes_on(old, generation=0, database="second")


def test_logical_replication_copies_the_log_and_then_the_copy_takes_over(old):
    begin(old)
    schema = old.run("pg_dump", "--schema-only")
    old.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    with made() as new:
        file = new.folder("dump") / "schema.sql"
        file.write_text(schema)
        file.parent.chmod(0o755)
        new.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}")
        source = f"host={old.sockets} user=postgres dbname=groundswell"
        new.execute(f"CREATE SUBSCRIPTION copy CONNECTION '{source}' PUBLICATION everything")
        wait_for(lambda: new.execute("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel")[0][0])
        with django_on(old):
            event_log.append(clicks(4, item="during the copy"))
            assert learned_all() == N_WAITING + 4
            event_log.append(clicks(2, item="waiting again"))
            event_log.append(clicks(1, start=900, item="erased"))
            event_log.erase("actor-900")  # a publication refuses to delete rows that it could not name
        (at,) = old.execute("SELECT pg_current_wal_lsn()")[0]
        of_copy = "SELECT pid FROM pg_stat_replication WHERE replay_lsn >= "
        wait_for(lambda: old.execute(f"{of_copy} '{at}'"))
        with django_on(new), pytest.raises(origin.ServerNotKnown, match="ALTER SUBSCRIPTION copy DISABLE"):
            event_log.append(clicks(1))
        new.execute("ALTER SUBSCRIPTION copy DISABLE")
        new.execute("ALTER SUBSCRIPTION copy SET (slot_name = NONE)")
        new.execute("DROP SUBSCRIPTION copy")
        assert new.execute("SELECT last_value, is_called FROM recommender_event_seq") == [(1, False)]
        goes_on(new, generation=1, n_waiting=2)


def test_a_recovery_to_an_earlier_time_goes_on_from_there(old):
    archive = old.folder("archive")
    old.stop()
    old.options |= {"archive_mode": "on", "archive_command": f"cp %p {archive}/%f"}
    old.start()
    begin(old)
    with made(is_started=False) as new:
        new.folder("postgres")
        base = old.folder("base")
        old.run("pg_basebackup", "--checkpoint=fast", f"--pgdata={base}/data")
        old.execute("SELECT pg_create_restore_point('yesterday')")
        with django_on(old):
            event_log.append(clicks(3, item="after yesterday"))
            learned_all()
            kept = learner.in_memory(0)
            assert kept.pipeline.n_events == N_LEARNED + N_WAITING + 3
        old.execute("SELECT pg_switch_wal()")
        wait_for(lambda: old.execute("SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver")[0][0])
        old.stop()
        (base / "data").rename(new.data)
        (new.data / "recovery.signal").touch()
        new.options = {
            "restore_command": f"cp {archive}/%f %p",
            "recovery_target_name": "yesterday",
            "recovery_target_action": "promote",
        }
        new.start()
        wait_for(lambda: not new.execute("SELECT pg_is_in_recovery()")[0][0])
        with django_on(new):  # a worker that was not restarted forgets what it learned after that time
            event_log.append(clicks(3, item="instead"))
            learned_all()
            now, digest = learner.in_memory(0), warm().digest()
            assert (now.step, now.checkpoint_id, now.n_reverts) == (kept.step, kept.checkpoint_id, kept.n_reverts)
            assert kept.pipeline.digest() != digest
            keep(kept)
            learner.learn(0)
            assert warm().digest() == digest
        goes_on(new, generation=0, n_waiting=0)


def test_a_promoted_replica_goes_on_in_the_same_generation(old):
    begin(old)
    with made(is_started=False) as new:
        new.folder("postgres")
        base = old.folder("base")
        old.run("pg_basebackup", "--write-recovery-conf", "--checkpoint=fast", f"--pgdata={base}/data")
        (base / "data").rename(new.data)
        new.start()
        with django_on(old):
            event_log.append(clicks(4, item="streamed"))
        n = N_LEARNED + N_WAITING + 4
        wait_for(lambda: new.execute("SELECT count(*) FROM recommender_event") == [(n,)])
        with django_on(new):
            with pytest.raises(origin.ServerNotKnown, match="standby"):
                origin.current()
            assert connection.connection is None  # the next one may reach the primary
        with django_on(new), pytest.raises(origin.ServerNotKnown, match="takes no events"):
            event_log.append(clicks(1))
        old.stop()
        new.execute("SELECT pg_promote()")
        goes_on(new, generation=0, n_waiting=N_WAITING + 4)
