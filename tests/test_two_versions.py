"""Two versions run side by side on one database, as during a rolling upgrade.

    web of this version ──┐                      ┌── learner of this version: does nothing after the later one came
                          ├──> log, view store ──┤
    web of a later one  ──┘                      └── learner of the later version: killed once and started again

Each version serves what the other published. Every acknowledged event is learned, once.
"""

import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest
from django.db import connection
from django.db.models import Sum

from recommender.api import api_keys
from recommender.core.state_versions import FOLD_VERSION, StateNewer
from recommender.learning import warm_pipeline
from recommender.models import Learner, Step, Upgrade
from tests.help.patience import PATIENCE_S, wait_for
from tests.help.released.version_process import LATER_RELEASE
from tests.help.supervised import BASE_DIR

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("view_store", "empty_log")]

LATER = FOLD_VERSION + 1
SECRET = "gsw_a-key-of-two-versions"
EACH = 20  # events of a request
UNSCREENED = {"SCREEN": "false"}  # it would hold back the readers of this site, who all do the same


@contextmanager
def started(version, role, env, log):
    """Start a process of a version and yield it with the line it prints first."""
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.help.released.version_process", version, role],
            cwd=BASE_DIR,
            env=env,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        line = process.stdout.readline().strip()
        assert line, log.read_text()
        yield process, line
    finally:
        process.kill()
        process.communicate()


class Site(threading.Thread):
    """Sends events to both web processes in turn, and asks both for the list."""

    def __init__(self, ports):
        super().__init__()
        self._ports, self._is_over = ports, threading.Event()
        self.n_accepted, self.statuses, self.lists = 0, set(), {port: [] for port in ports}

    def run(self):
        number = 0
        while not self._is_over.wait(0.05):
            port = self._ports[number % len(self._ports)]
            number += 1
            events = [
                {"event_id": str(uuid.uuid4()), "actor": f"reader-{(number * 7 + each) % 500}", "item": f"i-{each}"}
                for each in range(EACH)
            ]
            status, answer = self._call(port, "/api/v1/events", {"events": events})
            self.n_accepted += answer.get("accepted", 0) if status == 202 else 0
            for path in ("/api/v1/trending", "/api/v1/recommendations?actor=reader-1"):
                status, answer = self._call(port, path)
                if path.endswith("trending") and status == 200:
                    self.lists[port].append(answer["items"])

    def stop(self):
        self._is_over.set()
        self.join()

    def _call(self, port, path, body=None):
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        self.statuses.add(status)
        return status, json.loads(text)


def n_learned(version):
    return Step.objects.filter(fold_version=version).aggregate(n=Sum("n_events", default=0))["n"]


def n_in_log():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recommender_event")
        return cursor.fetchone()[0]


def test_a_newer_version_takes_over_and_no_event_is_lost_or_learned_twice(server_env, tmp_path):
    api_keys.make_key(name="two versions", scopes=["ingest", "read"], secret=SECRET)
    older_log, later_log, web_log = tmp_path / "older", tmp_path / "later", tmp_path / "web"
    with ExitStack() as stack:

        def start(version, role, log):
            return stack.enter_context(started(version, role, server_env | UNSCREENED, log))

        ports = [int(start(version, "web", web_log)[1]) for version in ("present", "later")]
        start("present", "learner", older_log)
        site = Site(ports)
        site.start()
        stack.callback(site.stop)
        wait_for(lambda: n_learned(FOLD_VERSION) >= 200)

        later, _ = start("later", "learner", later_log)
        wait_for(lambda: n_learned(LATER) >= 200)
        before = n_learned(FOLD_VERSION)
        later.send_signal(signal.SIGKILL)
        later.wait()
        restarted_older, _ = start("present", "learner", older_log)
        wait_for(lambda: older_log.read_text().count("shard 0 belongs to a newer version") == 2)
        start("later", "learner", later_log)
        more = n_learned(LATER) + 200
        wait_for(lambda: n_learned(LATER) >= more)
        site.stop()
        wait_for(lambda: n_learned(FOLD_VERSION) + n_learned(LATER) >= site.n_accepted)
        assert restarted_older.poll() is None  # it waits, and does not crash

    assert n_learned(FOLD_VERSION) == before
    assert n_learned(FOLD_VERSION) + n_learned(LATER) == site.n_accepted == n_in_log()
    steps = list(Step.objects.order_by("number"))
    assert [each.number for each in steps] == list(range(1, len(steps) + 1))
    for one, other in pairwise(steps):
        assert (one.to_xid, one.to_seq) == (other.from_xid, other.from_seq)
        assert one.fold_version <= other.fold_version
    assert site.statuses <= {200, 202, 503}  # 503 until the first list is published
    assert all(shown[-1] for shown in site.lists.values())

    row, made = Learner.objects.get(), Upgrade.objects.get()
    assert (row.fold_version, made.from_version, made.to_version) == (LATER, FOLD_VERSION, LATER)
    assert made.to_release == LATER_RELEASE
    assert {each.fold_version for each in steps[: made.before_step]} == {FOLD_VERSION}
    assert {each.fold_version for each in steps[made.before_step :]} == {LATER}
    assert "Traceback" not in older_log.read_text() + later_log.read_text() + web_log.read_text()
    assert f"written by {LATER_RELEASE} (fold version {LATER})" in older_log.read_text()

    with pytest.raises(StateNewer, match=f"written by {LATER_RELEASE}"):
        warm_pipeline.restore(row)
    verified = subprocess.run(
        [sys.executable, "-m", "tests.help.released.version_process", "later", "verify"],
        cwd=BASE_DIR,
        env=server_env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the log folds to the same digest" in verified.stdout, verified.stderr
