"""Erasing an actor, and writing down that it was asked for, in one transaction.

    control.erasures.ask_for ──> the job;  reviews.record ──> who asked, why, how many events; a keyed hash of whom

Decisions are kept for ever, so neither the note nor the subject may hold the actor's id. The hash is keyed with
SECRET_KEY: whoever has the key and an id can tell that this decision was about it, and nobody else can guess.
Findings name events by their place in the log, where nothing stands any more afterwards.
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


@transaction.atomic
def erase(*, actor_id: str, by: By, note: str = ASKED) -> Erasure:
    """Have an actor's events and its influence removed in the background. Asked for again while it is under way, the
    same erasure is given and nothing is written. Who may is the caller's to see to. Raises Invalid."""
    if re.search(rf"(?<!\w){re.escape(actor_id)}(?!\w)", note, re.IGNORECASE):
        raise Invalid(fields={"note": "The note is kept for ever: say why without the actor's id."})
    asked, is_new = erasures.ask_for(actor_id=actor_id)
    if is_new:
        subject = {"erasure": asked.pk, "actor_hash": asked.actor_hash, "events": event_log.count_of(actor_id)}
        _unsuspect(actor_id)
        reviews.record(by=by, action=Review.Action.ERASE, note=note, subject=subject)
    return asked


def _unsuspect(actor_id: str) -> None:
    """Take the actor's key out of what automatic freezes propose to leave out."""
    key = ids.encoder().key(actor_id)
    for freeze in AutoFreeze.objects.select_for_update().filter(suspects__actors__contains=[key]):
        assert freeze.suspects is not None  # the filter
        freeze.suspects["actors"].remove(key)
        freeze.save(update_fields=["suspects"])
