"""A server is recognised once, by one process, and nothing is accepted until then."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from recommender.intake import ingest
from recommender.learning import learner
from recommender.log import event_log, origin
from recommender.models import Event, Item, Learner, Step
from tests.help import version_0_1
from tests.help.clusters import django_on, made, migrate
from tests.help.log_rows import clicks
from tests.help.patience import PATIENCE_S, wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "fresh_process"),
]

BASE_DIR = Path(__file__).resolve().parents[3]
RECOGNISE = f"""
import django; django.setup()
from recommender.log import origin
origin.TURN_TIMEOUT_MS = origin.LOCK_TIMEOUT_MS = {int(PATIENCE_S * 1000)}
print(origin.recognise().generation)
"""
MOVED = "UPDATE recommender_log_origin SET started_at = '2020-01-01', system_identifier = 'another server'"


def execute(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def moved(live_api):
    """Yield a client of a log with 3 events, whose server is not known.

    The log has never been moved before, also if other tests moved it. Afterwards the server is known as before.
    """
    execute("UPDATE recommender_log_origin SET generation = 0")
    event_log.append(clicks(3))
    before = origin.current()
    execute(MOVED)
    yield live_api
    execute(
        f"UPDATE recommender_log_origin SET started_at = pg_postmaster_start_time(), objects = '{before.objects}',"
        f" generation = {before.generation}, system_identifier = '{before.system_identifier}'"
    )


def recognising(url: str) -> subprocess.Popen[str]:
    """Start a process that recognises the server."""
    env = os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "x" * 32}
    return subprocess.Popen(
        [sys.executable, "-c", RECOGNISE], cwd=BASE_DIR, env=env, stdout=subprocess.PIPE, text=True
    )


def send(api, n=2):
    return api.post(
        "/api/v1/events", {"events": [{"actor": f"a{each}", "item": "x"} for each in range(n)]}, key="ingest"
    )


def test_ingest_refuses_until_the_server_is_recognised_and_loses_nothing(moved, clock):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(origin, "_refuse_copies", lambda: _refuse("not now"))
        answers = [send(moved) for _ in range(3)]
    assert [(each.status, each.code) for each in answers] == [(503, "unavailable")] * 3
    assert all(int(each.headers["retry-after"]) >= 1 for each in answers)
    assert Event.objects.count() == 3
    clock.forward(origin.RETRY_S)
    assert send(moved).status == 202
    assert Event.objects.count() == 5
    wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == 5)
    assert origin.current().generation == 1


def _refuse(why):
    raise origin.ServerNotKnown(why)


def test_ingest_refuses_while_another_process_recognises_the_server(moved, clock, monkeypatch):
    monkeypatch.setattr(origin, "TURN_TIMEOUT_MS", 20)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(hashtext('recommender_log_origin'))")
            assert (send(moved).status, Event.objects.count()) == (503, 3)
            with pytest.MonkeyPatch.context() as patch:  # the next requests do not wait for it
                patch.setattr(origin, "_refuse_copies", lambda: pytest.fail("it was tried again at once"))
                with pytest.raises(origin.ServerNotKnown, match="another process"):
                    origin.recognise()
    finally:
        other.close()
    clock.forward(origin.RETRY_S)
    assert (send(moved).status, Event.objects.count()) == (202, 5)


def test_items_are_written_meanwhile_and_published_afterwards(moved):
    Item.objects.create(id="meanwhile")
    assert Item.objects.get().changed_xid == 2**62
    origin.current()
    assert 2**48 < Item.objects.get().changed_xid < 2**49


def test_of_two_processes_one_raises_the_generation_and_both_know_it(moved, monkeypatch):
    monkeypatch.setattr(origin, "TURN_TIMEOUT_MS", int(PATIENCE_S * 1000))
    found, barrier = [], threading.Barrier(4)

    def recognise():
        barrier.wait()
        found.append(origin.recognise())
        connection.close()

    threads = [threading.Thread(target=recognise) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [each.generation for each in found] == [1] * 4
    assert len(set(found)) == 1


@pytest.mark.usefixtures("moved")
def test_a_process_that_comes_second_does_not_look_for_the_highest_position(monkeypatch):
    first = origin.recognise()
    monkeypatch.setattr(origin, "_highest", lambda _: pytest.fail("it was read again"))
    assert origin.recognise() == first


@pytest.mark.usefixtures("moved")
def test_the_highest_position_of_the_steps_is_found_by_an_index(monkeypatch):
    origin.current()
    Step.objects.bulk_create(step(shard, number) for shard in (0, 1, 5) for number in range(1, 1000))
    with connection.cursor() as cursor:
        assert origin._highest(cursor) == 2**52 + 5999
        cursor.execute("ANALYZE recommender_step")
        cursor.execute("EXPLAIN " + origin._HIGHEST, [origin._MARK])
        plan = "\n".join(row for (row,) in cursor.fetchall())
    assert "Seq Scan on recommender_step" not in plan
    assert "step_at_a_position" in plan


def step(shard, number):
    end = 2**52 + 1000 * shard + number
    figures = dict.fromkeys(("n_events", "n_admitted", "n_predicted", "n_hits", "reciprocal_ranks"), 0)
    ends = {"from_xid": end - 1, "from_seq": 0, "to_xid": end, "to_seq": 0}
    return Step(shard=shard, number=number, stream_ms=0, duration_ms=0, **ends, **figures)


@pytest.mark.usefixtures("moved")
def test_a_restart_is_recognised_in_a_transaction_that_has_written_an_item():
    generation = origin.current().generation
    with transaction.atomic():
        Item.objects.create(id="of the caller")
        execute("UPDATE recommender_log_origin SET started_at = '2020-01-01'")
        assert origin.recognise().generation == generation


def test_a_process_that_is_killed_while_it_recognises_changes_nothing():
    with made() as cluster, django_on(cluster):
        migrate()
        event_log.append(clicks(3))
        execute(MOVED)
        before = execute("SELECT * FROM recommender_log_origin")
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE recommender_item IN SHARE MODE")  # its last statement waits for this
            process = recognising(cluster.url)
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE%item%'"
            wait_for(lambda: execute(waiting))
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=PATIENCE_S)
            cursor.execute("COMMIT")
        other.close()
        wait_for(lambda: not execute(waiting))
        wait_for(lambda: not execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"))
        assert execute("SELECT * FROM recommender_log_origin") == before
        processes = [recognising(cluster.url) for _ in range(2)]
        assert [each.communicate(timeout=PATIENCE_S)[0].strip() for each in processes] == ["1", "1"]


def test_a_server_that_is_restarted_while_ingest_runs_keeps_its_generation():
    with made() as cluster, django_on(cluster):
        migrate()
        acknowledged, is_done = [], threading.Event()

        def write(writer):
            for number in range(10**6):
                try:
                    acknowledged.append(event_log.append(clicks(3, start=number, item=f"writer-{writer}")))
                except DatabaseError:
                    connection.close()
                if is_done.is_set():
                    break
            connection.close()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
        [thread.start() for thread in threads]
        for _ in range(2):
            n = len(acknowledged)
            wait_for(lambda n=n: len(acknowledged) > n + 20)
            cluster.stop()
            cluster.start()
        n = len(acknowledged)
        wait_for(lambda: len(acknowledged) > n + 20)
        is_done.set()
        [thread.join() for thread in threads]
        connection.close()
        assert origin.current().generation == 0
        n_in_log = Event.objects.count()
        assert n_in_log >= sum(acknowledged)  # an answer may be lost with the connection
        wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == n_in_log)


def test_a_server_that_does_not_tell_its_identifier_is_known_by_its_objects(caplog):
    with made() as old, made() as new:
        for cluster in (old, new):
            cluster.execute("CREATE ROLE site LOGIN")
            cluster.execute("ALTER DATABASE groundswell OWNER TO site")
        old.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        old.spend_transactions(5_000)
        with django_on(old, user="site"):
            migrate()
            event_log.append(clicks(3))
            learner.learn(0)
            assert origin.current().system_identifier is None
        old.stop()
        old.start()
        with django_on(old, user="site"):
            event_log.append(clicks(2))
            assert "does not tell its system identifier" in caplog.text
            assert origin.current().generation == 0
        dump = old.folder("dump") / "groundswell.dump"
        old.run("pg_dump", "--format=custom", f"--file={dump}")
        dump.parent.chmod(0o755)
        new.run("pg_restore", "--dbname=groundswell", dump)
        with django_on(new, user="site"):
            event_log.append(clicks(4))
            wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == 9)
            assert origin.current().generation == 1


def test_a_dump_of_a_version_without_generations_is_migrated_past_its_positions():
    with made() as old, made() as new:
        old.spend_transactions(5_000)
        with django_on(old):
            call_command("migrate", "recommender", "0011", verbosity=0)
            execute(
                "INSERT INTO recommender_event (bucket, kind, actor, item) SELECT 0, 1, 'a' || n, 'x'"
                " FROM generate_series(1, 3) AS n"
            )
        dump = old.folder("dump") / "groundswell.dump"
        old.run("pg_dump", "--format=custom", f"--file={dump}")
        dump.parent.chmod(0o755)
        new.run("pg_restore", "--dbname=groundswell", dump)
        with django_on(new):
            migrate()
            assert origin.current().generation == 1
            event_log.append(clicks(4))
            wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == 7)


@pytest.mark.usefixtures("moved")
def test_a_learner_ahead_of_a_server_that_seems_known_raises_the_generation():
    learner.learn(0)
    origin.current()
    Learner.objects.update(xid=5 * 2**48 + 2**47)
    learner.forget()
    learner.learn(0)
    assert origin.current().generation == 6
    n_learned = Learner.objects.get().n_events
    event_log.append(clicks(4))
    wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == n_learned + 4)


def test_intake_looks_at_the_learners_positions_before_it_appends(moved, clock):
    learner.learn(0)
    origin.current()
    for generation in (6, 12):  # before its first event, and later
        Learner.objects.update(xid=(generation - 1) * 2**48 + 2**47)
        assert send(moved).status == 202
        (highest,) = event_log.fetch("SELECT max(xid::text::bigint) FROM recommender_event", [])
        assert highest >> 48 == generation
        clock.forward(ingest.BACKLOG_CHECK_EVERY_S)


@pytest.mark.usefixtures("moved")
def test_old_rows_that_are_copied_without_the_position_of_the_migration_are_refused():
    origin.current()
    Event.objects.all().delete()
    version_0_1.append(clicks(3))
    execute(MOVED)
    with pytest.raises(origin.ServerNotKnown, match="TRUNCATE recommender_log_change"):
        origin.current()
    with version_0_1.migrated():
        assert origin.current().generation == 2


def test_rows_that_are_copied_into_an_empty_log_are_continued():
    with made() as old, made() as new:
        old.spend_transactions(5_000)
        tables = ("event", "event_key", "checkpoint", "piece", "learner", "item")
        with django_on(old):
            migrate()
            event_log.append(clicks(3))
            learner.learn(0)
            event_log.append(clicks(2))
            Item.objects.create(id="copied")
        with django_on(new):
            migrate()
        dump = old.folder("dump") / "rows.sql"
        old.run("pg_dump", "--data-only", f"--file={dump}", *(f"--table=recommender_{table}*" for table in tables))
        dump.parent.chmod(0o755)
        new.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}")
        with django_on(new):
            assert event_log.append(clicks(4)) == 4
            wait_for(lambda: learner.learn(0) or Learner.objects.get().n_events == 9)
            assert origin.current().generation == 1


@pytest.mark.usefixtures("moved")
def test_a_missing_row_is_made_again_after_every_position():
    origin.current()
    event_log.append(clicks(1))
    execute("DELETE FROM recommender_log_origin")
    assert event_log.append(clicks(1)) == 1
    assert origin.current().generation == 2


@pytest.mark.usefixtures("moved")
def test_the_last_exact_generation_is_said_and_the_last_of_all_refuses(caplog, clock):
    execute("UPDATE recommender_log_origin SET generation = 30")
    event_log.append(clicks(1))
    (highest,) = event_log.fetch("SELECT max(xid::text::numeric) FROM recommender_event", [])
    assert 30 * 2**48 < highest < 2**53
    assert "2**53" not in caplog.text
    execute(MOVED)
    event_log.append(clicks(1))
    assert "2**53" in caplog.text
    execute(f"{MOVED}, generation = {origin.MAX_GENERATION}")
    with pytest.raises(origin.ServerNotKnown, match="no further positions"):
        event_log.append(clicks(1))
