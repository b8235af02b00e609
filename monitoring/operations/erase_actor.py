"""Erase an actor, and record the request in the same transaction.

    control.erasures.ask_for ──> the job;  reviews.record ──> who asked, why, how many events; a keyed hash of the id

Decisions are kept forever, so neither the note nor the subject may hold the actor's id. The hash is keyed with
the secret of ids. Someone with this secret and an id can check that the decision was about that id, and no one else
can guess it. Findings name events by their position in the log, where nothing is left after the erasure.
"""

import re

from django.db import transaction

from monitoring.audit import reviews
from monitoring.audit.reviews import By
from monitoring.models import AutoFreeze, Review
from recommender import ids
from recommender.control import erasures
from recommender.errors import Invalid
from recommender.log import event_log
from recommender.models import Erasure

ASKED = "The actor asked to be forgotten."
AGAIN = "The erasure failed and is tried again."


@transaction.atomic
def erase(*, actor_id: str, by: By, note: str = ASKED) -> Erasure:
    """Have an actor's events and its influence removed in the background.

    While an erasure of the actor is running, a second request returns the same erasure and records nothing. The
    caller checks permissions. Raises Invalid.
    """
    _check_note(note, actor_id)
    asked, is_new = erasures.ask_for(actor_id=actor_id)
    if is_new:
        subject = {"erasure": asked.pk, "actor_hash": asked.actor_hash, "events": event_log.count_of(actor_id)}
        _unsuspect(actor_id)
        reviews.record(by=by, action=Review.Action.ERASE, note=note, subject=subject)
    return asked


@transaction.atomic
def retry(*, erasure_id: int, by: By, note: str = AGAIN) -> Erasure:
    """Try a failed erasure again. The caller checks permissions.

    Raises NotFound, Invalid, and Conflict if the erasure has not failed, or no longer names its actor.
    """
    failed = erasures.get(erasure_id=erasure_id)
    if failed.actor:
        _check_note(note, failed.actor)
    asked = erasures.retry(erasure_id=erasure_id)
    subject = {"erasure": asked.pk, "actor_hash": asked.actor_hash, "error": failed.error[:500].replace("\0", "")}
    reviews.record(by=by, action=Review.Action.ERASE, note=note, subject=subject)
    return asked


def _check_note(note: str, actor_id: str) -> None:
    if re.search(ids.mention_of(actor_id), note, re.IGNORECASE):
        raise Invalid(fields={"note": "The note is kept forever. Write it without the actor's id."})


def _unsuspect(actor_id: str) -> None:
    """Remove the actor's key from the proposals of automatic freezes."""
    key = ids.encoder().key(actor_id)
    for freeze in AutoFreeze.objects.select_for_update().filter(suspects__actors__contains=[key]):
        assert freeze.suspects is not None  # the filter guarantees it
        freeze.suspects["actors"].remove(key)
        freeze.save(update_fields=["suspects"])
