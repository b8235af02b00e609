"""Test that no process works with another secret than its database's."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Replace
from django.urls import reverse

from monitoring.audit import reviews
from monitoring.audit.hash_chain import ChainHead
from monitoring.operations import erase_actor
from recommender import ids
from recommender.control import erasures
from recommender.core.pipeline import Pipeline
from recommender.learning import fresh_fold, learner, pipeline_settings
from recommender.log import event_log, id_secret
from recommender.log.id_secret import IdSecretWrong, fingerprint
from recommender.models import Checkpoint, Erasure, Event, IdFingerprint, Learner
from recommender.process_state import forget_all
from recommender.publishing import published_boards
from tests.help.learner_process import restart, warm
from tests.help.log_rows import clicks

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("view_store", "empty_log", "fresh_process"),
]

BASE_DIR = Path(__file__).resolve().parents[3]
NEW_KEY = "a new key of more than thirty-two characters"
OLGA = "shell:olga"


def noted():
    return IdFingerprint.objects.values_list("fingerprint", flat=True).first()


def rotate(settings, *, fallbacks=True, pinned=True):
    """Change SECRET_KEY and start again."""
    if pinned:
        settings.ID_SECRET = ids.secret()
    if fallbacks:
        settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = NEW_KEY
    forget_all()


def note(text):
    with transaction.atomic():
        reviews.record(by=OLGA, action="note", note=text, subject={})


def start(program, env):
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=BASE_DIR, env=env, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


WEB = "import config.wsgi"
WORKER = (
    "from config.celery import app; app.worker_main(['worker', '-P', 'solo', '-Q', 'none', '--loglevel', 'ERROR'])"
)
BEAT = "from config.celery import app; app.start(['beat', '--pidfile', '', '--schedule', '{}'])"


# -- the first start -----------------------------------------------------------------------------------------------


def test_the_first_start_notes_the_secret_of_the_settings():
    assert noted() is None
    id_secret.require()
    assert noted() == fingerprint(ids.secret())
    forget_all()
    id_secret.require()
    assert IdFingerprint.objects.count() == 1


def test_a_database_that_has_learned_is_begun_with_the_secret_of_its_state(settings):
    event_log.append(clicks(5))
    learner.learn(0)
    right = ids.secret()
    IdFingerprint.objects.all().delete()
    rotate(settings, pinned=False, fallbacks=False)
    with pytest.raises(IdSecretWrong):
        id_secret.require()
    assert noted() == fingerprint(right) != fingerprint(ids.secret())
    settings.ID_SECRET = right
    id_secret.require()


def test_shards_that_have_different_secrets_are_listed_with_what_to_do(settings, caplog):
    settings.SHARDS = 3
    for shard in range(3):
        learner.get_learner(shard)
    right, other = ids.secret(), "0f" * 16
    changed = Replace("header", Value(right), Value(other))
    assert Checkpoint.objects.filter(shard=1, header__contains=right).update(header=changed) == 1
    IdFingerprint.objects.all().delete()
    forget_all()
    id_secret.require()
    assert noted() == fingerprint(right)
    told = f"{fingerprint(right)[:8]} of shards 0 and 2, {fingerprint(other)[:8]} of shard 1. That of shard 0 counts"
    assert told in caplog.text
    assert "model rebuild" in caplog.text


def test_a_damaged_state_leaves_the_one_before_it(settings):
    for number in range(3):
        event_log.append(clicks(5, start=5 * number))
        learner.learn(0)
    right = ids.secret()
    Checkpoint.objects.filter(pk=Learner.objects.get().checkpoint_id).update(header="damaged")
    IdFingerprint.objects.all().delete()
    rotate(settings, pinned=False, fallbacks=False)
    with pytest.raises(IdSecretWrong):
        id_secret.require()
    assert noted() == fingerprint(right)


def test_two_first_starts_at_once_note_one_secret():
    from tests.help.written_decisions import at_once

    assert at_once(id_secret.require, id_secret.require, id_secret.require) == [None, None, None]
    assert IdFingerprint.objects.count() == 1


# -- every other start ---------------------------------------------------------------------------------------------


def test_with_another_secret_nothing_is_stored_and_nothing_learned(api, settings):
    event_log.append(clicks(5))
    learner.learn(0)
    n_events = Event.objects.count()
    rotate(settings, pinned=False)
    answer = api.post("/api/v1/events", {"actor": "ana", "item": "story"}, key="ingest")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert "ID_SECRET" in answer.json["error"]["message"]
    assert Event.objects.count() == n_events
    with pytest.raises(IdSecretWrong) as raised:
        learner.learn(0)
    assert "ids secret` prints the right value: set ID_SECRET" in raised.value.advice
    settings.ID_SECRET = id_secret.find()[0]
    assert api.post("/api/v1/events", {"actor": "ana", "item": "story"}, key="ingest").status == 202
    assert learner.learn(0) == 1


@pytest.mark.parametrize("program", [WEB, WORKER, BEAT])
def test_a_process_ends_at_its_start_and_says_how_to_go_on(program, server_env, tmp_path):
    id_secret.require()
    code, said = start(program.format(tmp_path / "beat"), server_env | {"SECRET_KEY": NEW_KEY})
    assert code == 1
    assert "Traceback" not in said
    assert "Groundswell cannot start. ID_SECRET" in said
    assert "ids secret` prints the right value: set ID_SECRET to it" in said


def test_a_process_with_the_right_secret_starts(server_env):
    id_secret.require()
    assert start(WEB, server_env)[0] == 0
    assert start(WEB, server_env | {"SECRET_KEY": NEW_KEY, "ID_SECRET": ids.secret()})[0] == 0


def test_a_web_process_starts_without_its_database(server_env):
    code, said = start(WEB, server_env | {"DATABASE_URL": "postgres://none@127.0.0.1:1/none"})
    assert code == 0
    assert "the secret of ids is compared later" in said


def test_checks_and_commands_report_it(settings, capsys):
    call_command("ids", "check")
    call_command("check", databases=["default"])
    right = ids.secret()
    rotate(settings, pinned=False, fallbacks=False)
    with pytest.raises(SystemCheckError, match=r"recommender\.E002"):
        call_command("check", databases=["default"])
    call_command("check")  # without a database it cannot be known
    with pytest.raises(CommandError, match="set ID_SECRET"):
        call_command("ids", "check")
    with pytest.raises(CommandError, match="neither in the settings nor in a checkpoint"):
        call_command("ids", "secret")
    settings.SECRET_KEY_FALLBACKS = ["a text of at least thirty-two characters", "x" * 40]
    with pytest.raises(CommandError, match="neither"):
        call_command("ids", "secret")
    settings.ID_SECRET = right.upper()
    capsys.readouterr()
    call_command("ids", "secret")
    assert capsys.readouterr() == (f"{right}\n", "from the settings\n")


def test_the_secret_is_found_where_it_is_left(settings, capsys):
    event_log.append(clicks(5))
    learner.learn(0)
    right = ids.secret()
    rotate(settings, pinned=False)
    assert id_secret.find() == (right, "SECRET_KEY_FALLBACKS")
    settings.SECRET_KEY_FALLBACKS = []
    assert id_secret.find() == (right, str(Checkpoint.objects.first()))
    settings.ID_SECRET = "another text of at least thirty-two characters"
    call_command("ids", "secret")
    assert capsys.readouterr().out == f"{right}\n"


# -- a new SECRET_KEY ----------------------------------------------------------------------------------------------


def test_learning_goes_on_under_a_new_key(settings, api):
    settings.SCREEN, settings.HALF_LIVES_S = False, [10**7]
    yesterday = time.time() - 86_400
    event_log.append_at(clicks(30), [yesterday + number for number in range(30)])
    learner.learn(0)
    event_log.append(clicks(30))  # they come back, so they earn trust
    learner.learn(0)
    digest = warm().digest()
    rotate(settings)
    restart()
    assert learner.learn(0) == 0
    assert warm().digest() == digest
    rows = [{"actor": "actor-7", "item": "theirs"}, {"actor": "stranger", "item": "another"}]
    assert api.post("/api/v1/events", {"events": rows}, key="ingest").status == 202
    assert learner.learn(0) == 2
    board = published_boards.ViewReader(published_boards.connect()).board("")
    scores = {item: board.score(place) for place, item in enumerate(board.items)}
    assert scores["another"] == pytest.approx(settings.TRUST_FLOOR, rel=0.01)
    assert scores["theirs"] > 2 * scores["another"]
    assert fresh_fold.verify(Learner.objects.get().checkpoint) == Learner.objects.get().checkpoint.digest


def test_erasures_stay_one_an_actor(settings):
    event_log.append(clicks(10))
    learner.learn(0)
    asked = erase_actor.erase(actor_id="actor-7", by=OLGA)
    rotate(settings)
    assert erase_actor.erase(actor_id="actor-7", by=OLGA) == asked
    assert erasures.run_next()
    assert Erasure.objects.get().actor_hash in ids.name_hashes("actor-7")
    assert event_log.count_of("actor-7") == 0
    settings.SECRET_KEY_FALLBACKS = []
    assert Erasure.objects.get().actor_hash == ids.name_hash("actor-7")


def test_an_erasure_of_the_version_before_is_found_while_its_key_is_named(settings):
    from hashlib import blake2b

    key = settings.SECRET_KEY.encode()[:64]
    former = blake2b(b"groundswell erased ana", key=key, digest_size=32).hexdigest()
    begun = Erasure.objects.create(actor="ana", actor_hash=former)
    assert erasures.ask_for(actor_id="ana") == (begun, False)
    rotate(settings)
    assert erasures.ask_for(actor_id="ana") == (begun, False)
    settings.SECRET_KEY_FALLBACKS = []
    assert former not in ids.name_hashes("ana")


def test_the_audit_chain_stays_whole_and_its_heads_genuine(settings):
    note("before")
    signed = reviews.head().signed()
    rotate(settings)
    note("after")
    assert reviews.verify_chain(kept=ChainHead.parse(signed)).is_intact
    settings.SECRET_KEY_FALLBACKS = []
    assert reviews.verify_chain().is_intact
    with pytest.raises(ValueError, match="add the former key to SECRET_KEY_FALLBACKS"):
        ChainHead.parse(signed)


def test_people_stay_signed_in_while_the_former_key_is_named(settings, client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("olga", password="secret of olga"))
    overview = reverse("console:overview")
    assert client.get(overview).status_code == 200
    rotate(settings)
    assert client.get(overview).status_code == 200
    settings.SECRET_KEY_FALLBACKS = []
    settings.SECRET_KEY = "a third key of more than thirty-two characters"
    assert client.get(overview).status_code == 302


def test_an_api_key_needs_no_secret_key(settings, api):
    rotate(settings)
    assert api.get("/api/v1/model", key="admin").status == 200


def test_a_state_of_another_site_is_not_imported(settings, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(Pipeline(pipeline_settings.configured()).to_bytes())
    call_command("checkpoint", "import", path)
    rotate(settings, pinned=False)
    with pytest.raises(CommandError, match="hashed with another secret"):
        call_command("checkpoint", "import", path)
