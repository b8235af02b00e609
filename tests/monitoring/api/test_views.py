"""The API of the stop switch and the findings: confirm, release and revert."""

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from monitoring.findings import collect_findings, finding_descriptions
from monitoring.findings.wording import FEATURES, UNKNOWN
from monitoring.models import Finding, Review
from monitoring.operations import state_digest
from recommender.api import api_keys
from recommender.control import reverts
from recommender.learning import learner
from recommender.log import event_log
from recommender.models import Checkpoint, Decision, EventVerdict, Learner
from tests.help.attacked_site import learn_all, push, site, write
from tests.help.learner_process import warm
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
WHY = {"note": "because"}
GETS = [
    "/api/v1/model",
    "/api/v1/model/checkpoints",
    "/api/v1/model/reverts/1",
    "/api/v1/findings",
    "/api/v1/findings/1",
]
POSTS = [
    *(f"/api/v1/model/{verb}" for verb in ("freeze", "thaw", "revert", "checkpoints/1/pin", "checkpoints/1/unpin")),
    *(f"/api/v1/findings/1/{verb}" for verb in ("release", "confirm")),
]


@pytest.fixture
def learned(api):
    for batch in (clicks(20), clicks(20, start=20, item="mal's")):
        event_log.append(batch)
        learner.learn(0)
    return Checkpoint.objects.order_by("step")[1]


@pytest.fixture
def attacked(api):
    write(push(site(), "target", 300))
    learn_all()
    learner.learn(0)  # it publishes a list, and a finding is measured against it
    collect_findings.gather()
    return Finding.objects.get(item="target")


def board():
    learner.learn(0)
    return warm().board(200).items


@pytest.mark.parametrize("key", ["read", "ingest", None])
def test_only_admin_keys_are_let_in(api, key):
    status = 403 if key else 401
    assert {api.get(path, key=key).status for path in GETS} == {status}
    assert {api.post(path, WHY, key=key).status for path in POSTS} == {status}
    assert not Review.objects.exists()


def test_an_attack_is_confirmed_then_released_and_comes_back(api, attacked):
    (listed,) = api.get("/api/v1/findings?state=open&kind=campaign&item=target", key="admin").json["findings"]
    assert (listed["id"], listed["events"], listed["severity"]) == (attacked.pk, 300, "high")
    assert "target" not in board()
    done = api.post(f"/api/v1/findings/{attacked.pk}/confirm", WHY, key="admin")
    assert (done.status, done.json) == (200, {"events": 300})
    assert "target" not in board()
    again = api.post(f"/api/v1/findings/{attacked.pk}/confirm", WHY, key="admin")
    assert (again.status, again.code) == (409, "conflict")
    assert api.post(f"/api/v1/findings/{attacked.pk}/release", WHY, key="admin").json == {"events": 300}
    assert "target" in board()
    collect_findings.gather()
    found = api.get(f"/api/v1/findings/{attacked.pk}", key="admin").json
    assert (found["state"], found["released_since"], found["quarantined"]) == ("released", 300, 0)
    written = Review.objects.order_by("id")
    assert [(row.action, row.by) for row in written] == [
        (action, "api:the admin client") for action in ("confirm", "release")
    ]
    assert all((row.subject["finding"], row.subject["events"]) == (attacked.pk, 300) for row in written)


def test_a_finding_says_why(api, attacked):
    found = api.get(f"/api/v1/findings/{attacked.pk}", key="admin").json
    why = {each["reason"]: each for each in found["why"]}
    assert why["no_return"]["says"] == "almost none opened a second item"
    assert why["no_return"]["events"] == 300
    assert set(why) == set(found["reasons"])
    (item,) = found["items"]
    assert (item["item"], item["events"]) == ("target", 300)
    assert len(found["newest"]) == 100
    assert all(each["actor"].startswith("mal-") and each["verdict"] == "quarantine" for each in found["newest"])
    assert "mal-" not in api.get("/api/v1/findings", key="admin").body.decode()


def test_evidence_is_told_feature_by_feature_strangest_first():
    rows = np.full((4, len(FEATURES)), UNKNOWN, np.uint8)
    rows[:, 2], rows[:3, 0] = [99, 97, 90, 100], [5, 10, 15]
    stored = [EventVerdict(evidence=row.tobytes()) for row in rows]
    assert finding_descriptions.summarise([*stored, EventVerdict(evidence=None), EventVerdict(evidence=b"x")]) == [
        {"feature": FEATURES[2], "events": 4, "median": 98, "at_95": 3},
        {"feature": FEATURES[0], "events": 3, "median": 10, "at_95": 0},
    ]
    assert finding_descriptions.summarise([]) == []


def test_a_confirmed_push_that_had_got_in_is_gone_and_comes_back(api, learned):
    assert "mal's" in board()
    events = event_log.read_step(learner.Step.objects.get(number=2))
    finding = Finding.objects.create(title="x", item="mal's", first_ms=int(events.received_ms[0]), last_ms=2**50)
    for xid, seq in zip(events.xid.tolist(), events.seq.tolist(), strict=True):
        finding.events.create(shard=0, xid=xid, seq=seq, received_ms=int(events.received_ms[0]))
    api.post(f"/api/v1/findings/{finding.pk}/confirm", WHY, key="admin")
    assert "mal's" not in board()
    collect_findings.gather()
    finding.refresh_from_db()
    assert (finding.state, finding.n_quarantined, finding.n_events) == ("confirmed", 20, 20)
    api.post(f"/api/v1/findings/{finding.pk}/release", WHY, key="admin")
    assert "mal's" in board()


def test_frozen_and_thawed_by_api(api, learned):
    assert api.post("/api/v1/model/freeze", WHY, key="admin").json == {"state": "frozen"}
    assert api.post("/api/v1/model/freeze", WHY, key="admin").code == "conflict"
    event_log.append(clicks(3, start=90))
    model = api.get("/api/v1/model", key="admin").json
    assert (model["state"], model["waiting_events"], model["revert"]) == ("frozen", 3, None)
    assert model["frozen_since"] is not None
    (shard,) = model["shards"]
    assert (shard["step"], shard["events"], shard["state"]) == (2, 40, "frozen")
    assert shard["checkpoint"]["digest"] == Learner.objects.get().checkpoint.digest
    assert api.post("/api/v1/model/thaw", WHY, key="admin").json == {"state": "learning"}
    assert Review.objects.count() == 2


def test_a_revert_is_followed_to_its_outcome(api, learned):
    body = WHY | {
        "checkpoint": learned.pk,
        "mode": "exclude",
        "exclude": {"items": [{"item": "mal's", "from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}]},
    }
    preview = api.post("/api/v1/model/revert", body | {"preview": True}, key="admin")
    asked = api.post("/api/v1/model/revert", body, key="admin")
    assert (preview.status, asked.status, asked.json["state"]) == (202, 202, "queued")
    assert api.get("/api/v1/model", key="admin").json["revert"] == asked.json["revert"]
    assert api.post("/api/v1/model/revert", body, key="admin").code == "conflict"
    while reverts.run_next():
        pass
    for each in (preview, asked):
        done = api.get(f"/api/v1/model/reverts/{each.json['revert']}", key="admin").json
        assert (done["state"], done["events_done"]) == ("done", done["events_total"])
        assert done["outcome"]["changes"]["leaves"] == ["mal's"]
    assert "mal's" not in board()
    assert Review.objects.count() == 2


def test_checkpoints_are_listed_newest_first_in_pages(api, learned):
    first = api.get("/api/v1/model/checkpoints?limit=2", key="admin").json
    assert [each["step"] for each in first["checkpoints"]] == [2, 1]
    rest = api.get(f"/api/v1/model/checkpoints?limit=2&before={first['before']}", key="admin").json
    assert [each["step"] for each in rest["checkpoints"]] == [0]
    assert rest["before"] is None
    pinned = api.post(f"/api/v1/model/checkpoints/{learned.pk}/pin", WHY, key="admin")
    assert (pinned.status, pinned.json["is_pinned"]) == (200, True)
    assert api.post(f"/api/v1/model/checkpoints/{learned.pk}/pin", WHY, key="admin").status == 409
    assert api.post(f"/api/v1/model/checkpoints/{learned.pk}/unpin", WHY, key="admin").json["is_pinned"] is False


NOTES = [
    {},
    {"note": ""},
    {"note": "  "},
    {"note": "x" * 2001},
    {"note": "a\0b"},
    {"note": None},
    {"note": ["x"]},
    [],
    7,
]


@pytest.mark.parametrize("body", NOTES)
def test_a_decision_without_a_proper_note_is_refused(api, learned, body):
    finding = Finding.objects.create(title="x", first_ms=1, last_ms=1)
    for path in POSTS:
        number = finding.pk if "findings" in path else learned.pk
        answer = api.post(path.replace("/1/", f"/{number}/"), body, key="admin")
        assert (path, answer.status, answer.code) == (path, 400, "invalid")
    assert Learner.objects.get().state == "learning"
    assert not Decision.objects.exists()
    assert not Review.objects.exists()


@pytest.mark.parametrize("number", ["0", "77777", "9223372036854775808", "10000000000000000000", "9" * 5000])
def test_unknown_numbers_are_not_found(api, learned, number):
    for path in (f"/api/v1/findings/{number}", f"/api/v1/model/reverts/{number}"):
        assert api.get(path, key="admin").code == "not_found"
    for path in (
        f"/api/v1/findings/{number}/release",
        f"/api/v1/findings/{number}/confirm",
        f"/api/v1/model/checkpoints/{number}/pin",
    ):
        assert api.post(path, WHY, key="admin").code == "not_found"
    assert api.get("/api/v1/findings/-1", key="admin").status == 404


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "before=-1", "before=10000000000000000000", "limit=1e3"]
)
def test_queries_that_cannot_be_are_refused(api, query):
    for path in ("/api/v1/findings", "/api/v1/model/checkpoints"):
        assert api.get(f"{path}?{query}", key="admin").code == "invalid"


@pytest.mark.parametrize("query", ["state=shut", "kind=x", "item=" + "x" * 257, "item=a%00b"])
def test_findings_of_no_such_kind_are_refused(api, query):
    assert api.get(f"/api/v1/findings?{query}", key="admin").code == "invalid"


@pytest.mark.parametrize(
    "wrong",
    [
        {"checkpoint": None},
        {"checkpoint": -1},
        {"checkpoint": 10**19},
        {"checkpoint": "1; DROP"},
        {"mode": "undo"},
        {"mode": "exclude"},
        {"mode": "exclude", "exclude": {}},
        {"mode": "replay", "exclude": {"actors": ["a"]}},
        {"mode": "exclude", "exclude": {"actors": ["a\0b"]}},
        {"mode": "exclude", "exclude": {"actors": "a"}},
        {"mode": "exclude", "exclude": {"actors": ["x" * 257]}},
        {"mode": "exclude", "exclude": {"networks": ["192.0.2.1"]}},
        {"mode": "exclude", "exclude": {"findings": [10**19]}},
        {"mode": "exclude", "exclude": {"findings": [-1]}},
        {
            "mode": "exclude",
            "exclude": {"items": [{"item": "x", "from": "2026-01-02T00:00Z", "to": "2026-01-01T00:00Z"}]},
        },
        {"mode": "exclude", "exclude": {"items": [{"item": "x", "from": "0001-01-01T00:00Z", "to": "x"}]}},
        {"mode": "exclude", "exclude": {"items": [{"item": "x"}]}},
        {"preview": "perhaps"},
    ],
)
def test_a_revert_that_cannot_be_is_refused(api, learned, wrong):
    answer = api.post("/api/v1/model/revert", WHY | {"checkpoint": learned.pk} | wrong, key="admin")
    assert (answer.status, answer.code) == (400, "invalid")
    assert not Review.objects.exists()


def test_a_revert_to_nowhere_or_without_an_unknown_finding_is_not_found(api, learned):
    answer = api.post("/api/v1/model/revert", WHY | {"checkpoint": 2**62}, key="admin")
    assert answer.code == "not_found"
    body = WHY | {"checkpoint": learned.pk, "mode": "exclude", "exclude": {"findings": [7]}}
    assert api.post("/api/v1/model/revert", body, key="admin").code == "not_found"


def test_a_key_with_a_strange_name_can_still_decide(api, learned):
    _, secret = api_keys.make_key(name="ops 'x' -- <b>", scopes=["admin"])
    assert api.post("/api/v1/model/freeze", WHY, secret=secret).status == 200
    assert Review.objects.get().by == "api:ops 'x' -- <b>"


# -- the same from a shell ----------------------------------------------------------------------------------------


def test_the_stop_switch_from_a_shell(learned, capsys):
    call_command("model", "freeze", "--note", "x")
    with pytest.raises(CommandError, match="already frozen"):
        call_command("model", "freeze", "--note", "x")
    call_command("model", "state")
    assert "frozen since" in capsys.readouterr().out
    call_command("model", "thaw", "--note", "x")
    assert {review.by.split(":")[0] for review in Review.objects.all()} == {"shell"}


def test_a_revert_from_a_shell_shows_what_changes(learned, tmp_path, capsys, monkeypatch):
    from monitoring.management.commands import model

    monkeypatch.setattr(model, "OURSELVES_AFTER_S", 0.0)
    actors = tmp_path / "actors.txt"
    actors.write_text("\n".join(f"actor-{number}" for number in range(20, 40)))
    call_command(
        *("model", "revert", str(learned.pk), "--mode", "exclude", "--actors", str(actors), "--wait", "--note", "x")
    )
    told = capsys.readouterr().out
    assert "20 left out" in told
    assert "mal's" in told.split("gone")[-1]
    assert "mal's" not in board()
    assert [review.subject["state"] for review in Review.objects.order_by("id")] == ["queued", "done"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--item", "x"], "together"),
        (["--findings", "1,x"], "numbers"),
        (["--actors", "/nowhere/at/all"], "cannot be read"),
        (["--networks", "10.0.0.0/8"], "not a network"),
        ([], "Name actors, networks or items"),
    ],
)
def test_a_shells_mistakes_are_told(learned, wrong, message):
    with pytest.raises(CommandError, match=message):
        call_command("model", "revert", str(learned.pk), "--mode", "exclude", "--note", "x", *wrong)
    assert not Review.objects.exists()


def test_findings_from_a_shell(attacked, capsys):
    call_command("finding", "list", "--state", "open")
    assert '300 accounts pushed "target"' in capsys.readouterr().out
    call_command("finding", "show", str(attacked.pk))
    assert "almost none opened a second item (300 events)" in capsys.readouterr().out
    call_command("finding", "confirm", str(attacked.pk), "--note", "x")
    with pytest.raises(CommandError, match="already confirmed"):
        call_command("finding", "confirm", str(attacked.pk), "--note", "x")
    call_command("finding", "release", str(attacked.pk), "--note", "x")
    assert "released: 300 events" in capsys.readouterr().out
    with pytest.raises(CommandError, match="no finding 0"):
        call_command("finding", "show", "0")
    assert state_digest.state_digest()
