"""Erasing by API and shell: it is done and recorded, and no actor is named."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from monitoring.models import AutoFreeze, Review
from monitoring.operations import erase_actor
from recommender import ids
from recommender.control import erasures
from recommender.core.decisions import ExclusionRule
from recommender.errors import Invalid
from recommender.learning import learner
from recommender.log import event_log
from tests.help.log_rows import clicks
from tests.recommender.conftest import *  # noqa: F403 - the API and a fresh learner, as fixtures

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]
MAL = "actor-7"


@pytest.fixture
def learned():
    event_log.append(clicks(20))
    learner.learn(0)


def test_an_actor_is_erased_by_the_api(live_api, learned):
    asked = live_api.delete(f"/api/v1/actors/{MAL}", key="admin")
    assert asked.status == 202
    assert asked.headers["location"] == asked.json["url"]
    assert live_api.get(asked.json["url"], key="admin").json["state"] == "queued"
    assert live_api.delete(f"/api/v1/actors/{MAL}", key="admin").json["erasure"] == asked.json["erasure"]
    assert erasures.run_next()
    done = live_api.get(asked.json["url"], key="admin")
    assert done.json["state"] == "done"
    assert done.json["outcome"]["events"] == 1
    assert done.json["outcome"]["is_exact"]
    assert not any(erasures.traces_of(MAL).values())
    assert MAL not in asked.body.decode() + done.body.decode()
    review = Review.objects.get()
    assert (review.action, review.by) == ("erase", "api:the admin client")
    assert review.subject["events"] == 1


@pytest.mark.parametrize("key", [None, "ingest", "read"])
def test_it_takes_an_admin_key(live_api, key):
    assert live_api.delete(f"/api/v1/actors/{MAL}", key=key).status in (401, 403)
    assert not Review.objects.exists()


def test_an_erasure_nobody_asked_for_is_not_found(live_api):
    assert live_api.get("/api/v1/erasures/99", key="admin").code == "not_found"


def test_an_unknown_actor_is_answered_as_a_known_one(live_api, learned):
    known, unknown = (live_api.delete(f"/api/v1/actors/{name}", key="admin") for name in (MAL, "nobody"))
    assert known.status == unknown.status == 202
    assert set(known.json) == set(unknown.json)


def test_the_decision_names_nobody(learned):
    erase_actor.erase(actor_id=MAL, by="policy", note="A letter of 3 May.")
    row = Review.objects.values().get()
    assert MAL not in json.dumps(row, default=str)
    with pytest.raises(Invalid, match="invalid") as refused:
        erase_actor.erase(actor_id=MAL, by="policy", note=f"{MAL.upper()} wrote to us.")
    assert "note" in refused.value.fields


def test_the_shell_erases_and_proves_it(learned, capsys):
    with pytest.raises(CommandError, match="traces"):
        call_command("actor", "traces", MAL)
    call_command("actor", "erase", MAL, "--note", "A letter.", "--now")
    assert "done" in capsys.readouterr().out
    call_command("actor", "traces", MAL)
    assert Review.objects.get().by.startswith("shell:")


def test_a_proposal_to_leave_it_out_forgets_it(learned):
    encoder = ids.encoder()
    others = [encoder.key("actor-1")]
    freeze = AutoFreeze.objects.create(
        shard=0,
        frozen_at=timezone.now(),
        until=timezone.now(),
        step=1,
        n_reverts=0,
        changed_ms=0,
        reason="drift",
        suspects=ExclusionRule(actors=encoder.keys([MAL, "actor-1"])).state(),
    )
    erase_actor.erase(actor_id=MAL, by="shell:olga")
    freeze.refresh_from_db()
    assert freeze.suspects["actors"] == others
