"""/health and /metrics inform monitors, also when servers are away."""

import subprocess
import sys

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models.functions import Now

from recommender.api import health
from recommender.log import event_log
from recommender.models import Checkpoint, Learner, Step
from tests.help.patience import PATIENCE_S

ASKED_AGAIN_S = 1.1 * health.KEPT_S


@pytest.fixture
def away(clock):
    """Make PostgreSQL unreachable for the rest of the test."""
    known = dict(connection.settings_dict)

    def go():
        connection.close()
        connection.settings_dict.update(PORT="1", HOST="127.0.0.1")
        clock.forward(ASKED_AGAIN_S)

    yield go
    connection.close()
    connection.settings_dict.update(known)


def series(api):
    answer = api.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def learner(**more):
    """Store a learner that has read every event, at a position the server has reached."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT recommender_xid_base() + pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1")
        (xid,) = cursor.fetchone()
    return Learner.objects.create(shard=0, **{"xid": xid, "seq": event_log.last_seq(), **more})


def test_a_process_that_answers_is_live(live_api, away):
    away()
    answer = live_api.get("/health/live")
    assert (answer.status, answer.json) == (200, {"live": True})


def test_ready_when_everything_is_there(live_api, publish):
    learner()
    publish({"": []})
    answer = live_api.get("/health/ready")
    assert answer.json == {
        "ready": True,
        "checks": {"database": "ok", "view": "ok", "broker": "ok", "learner": "ok"},
        "warnings": [],
    }
    assert answer.status == 200


def test_a_checkpoint_that_cannot_be_written_is_named_and_takes_nothing_down(live_api, publish, capsys):
    publish({"": []})
    checkpoint = Checkpoint.objects.create(
        shard=0, step=0, xid=0, seq=0, digest="", n_bytes=1000, n_new_bytes=250, data=b""
    )
    learner(checkpoint=checkpoint, checkpoint_error="disk full", checkpoint_failed_at=Now(), n_checkpoint_failures=3)
    answer = live_api.get("/health/ready")
    assert "No checkpoint of shard 0" in str(answer.json["warnings"])
    assert answer.status == 200, answer.json
    told = live_api.get("/metrics").body.decode()
    assert 'groundswell_checkpoint_failures_total{shard="0"} 3.0' in told
    assert 'groundswell_checkpoint_share_unchanged{shard="0"} 0.75' in told
    assert 'groundswell_checkpoint_bytes{shard="0"} 1000.0' in told
    assert 'groundswell_checkpoint_age_seconds{shard="0"}' in told
    call_command("checkpoint", "list")
    said = capsys.readouterr().out
    assert "unchanged 75%" in said
    assert "disk full" in said


def test_not_ready_names_what_is_down(live_api, publish, away, settings, monkeypatch):
    publish({"": []})
    learner()
    away()
    settings.VIEW_URL = "redis://127.0.0.1:1"
    monkeypatch.setattr(health.current_app.conf, "broker_url", "redis://127.0.0.1:1")
    monkeypatch.setattr(health.current_app.conf, "broker_write_url", "redis://127.0.0.1:1")
    answer = live_api.get("/health/ready")
    assert answer.status == 503
    assert answer.json["ready"] is False
    assert answer.json["checks"] == {
        "database": "PostgreSQL does not answer",
        "view": "the view store does not answer",
        "broker": "the broker does not answer",
        "learner": "unknown while PostgreSQL does not answer",
    }


def test_a_learner_that_never_ran_is_behind_or_is_silent_is_not_ready(live_api, publish, clock, monkeypatch):
    publish({"": []})
    assert live_api.get("/health/ready").json["checks"]["learner"] == "has never run"
    row = learner()
    clock.forward(ASKED_AGAIN_S)
    publish({"": []}, age_s=100)
    assert "last published" in live_api.get("/health/ready").json["checks"]["learner"]
    clock.forward(ASKED_AGAIN_S)
    publish({"": []})
    live_api.post("/api/v1/events", {"actor": "ana", "item": "a"}, key="ingest")
    Learner.objects.filter(pk=row.pk).update(xid=0, seq=0)
    monkeypatch.setattr(health, "STALE_S", 0.0)
    assert "behind" in live_api.get("/health/ready").json["checks"]["learner"]


def test_the_parts_are_asked_once_a_second_at_most(live_api, publish, clock):
    publish({"": []})
    assert live_api.get("/health/ready").json["checks"]["learner"] == "has never run"
    learner()
    clock.forward(health.KEPT_S)
    assert live_api.get("/health/ready").json["checks"]["learner"] == "has never run"
    clock.forward(0.1)
    assert live_api.get("/health/ready").json["checks"]["learner"] == "ok"


def test_a_frozen_learner_is_ready(live_api, publish):
    publish({"": []}, age_s=100, state="frozen")
    learner(state="frozen")
    assert live_api.get("/health/ready").json["checks"]["learner"] == "ok"


def test_metrics_count_what_was_accepted_and_rejected(live_api, publish):
    publish({"": []}, age_s=5)
    before = series(live_api)
    once = {"actor": "ana", "item": "a", "event_id": "e1"}
    live_api.post("/api/v1/events", {"events": [once, once, {"actor": "ana", "item": "b"}, {}]}, key="ingest")
    live_api.post("/api/v1/events", b"{", key="ingest")
    live_api.get("/api/v1/trending", key="read")
    live_api.get("/api/v1/items/none", key="read")
    after = series(live_api)

    def grew(name):
        return after[name] - before.get(name, 0.0)

    assert grew("groundswell_events_accepted_total") == 2
    assert grew("groundswell_events_duplicate_total") == 1
    assert grew('groundswell_events_rejected_total{code="invalid_actor"}') == 1
    assert grew('groundswell_errors_total{code="unparsable"}') == 1
    assert grew('groundswell_errors_total{code="not_found"}') == 1
    assert grew('groundswell_lists_served_total{list="trending"}') == 1


def test_metrics_say_where_the_learner_and_the_view_are(live_api, publish):
    learner(step=3, n_events=100)
    Step.objects.create(
        shard=0, number=3, from_xid=0, from_seq=0, to_xid=1, to_seq=1, n_events=100, n_admitted=100,
        n_predicted=0, n_hits=0, reciprocal_ranks=0.0, stream_ms=0, duration_ms=12.5,
    )  # fmt: skip
    publish({"": []}, age_s=5)
    now = series(live_api)
    assert now["groundswell_database_up"] == 1
    assert now["groundswell_backlog_events"] == 0
    assert now['groundswell_lag_seconds{shard="0"}'] == 0
    assert now['groundswell_steps_total{shard="0"}'] == 3
    assert now['groundswell_events_learned_total{shard="0"}'] == 100
    assert now['groundswell_step_seconds{shard="0"}'] == 0.0125
    assert 5 <= now["groundswell_view_age_seconds"] < 60
    live_api.post("/api/v1/events", {"events": [{"actor": "a", "item": "b"}] * 7}, key="ingest")
    Learner.objects.update(xid=0)
    now = series(live_api)
    assert now["groundswell_backlog_events"] == 7
    assert now['groundswell_lag_seconds{shard="0"}'] > 0


def test_metrics_are_answered_without_any_server(live_api, away, settings):
    settings.VIEW_URL = "redis://127.0.0.1:1"
    away()
    assert series(live_api)["groundswell_database_up"] == 0


def test_metrics_add_up_over_the_web_processes(server_env, tmp_path):
    env = server_env | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}

    def run(code):
        start = "import django; django.setup(); from recommender import counters; "
        return subprocess.run(
            [sys.executable, "-c", start + code],
            env=env,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        ).stdout

    run("counters.ACCEPTED.inc(3)")
    run("counters.ACCEPTED.inc(4); counters.REJECTED.labels('invalid_ip').inc()")
    run("counters.RECOMMENDED.labels('similar').inc(20); counters.RECOMMENDED_CLICKS.labels('similar').inc()")
    run("counters.RECOMMENDED.labels('similar').inc(5); counters.RECOMMENDED_CLICKS.labels('not_credited').inc(2)")
    recommended = run("print([(each.source, each.n_shown, each.n_clicks) for each in counters.read_recommended()])")
    assert recommended.strip() == "[('not_credited', 0, 2), ('similar', 25, 1)]"
    told = run("from recommender.api import metrics; print(metrics.render().decode())")
    assert "groundswell_events_accepted_total 7.0" in told
    assert 'groundswell_events_rejected_total{code="invalid_ip"} 1.0' in told
    assert "groundswell_database_up 1.0" in told
