"""One rule limits the ids that come in, are stored, and are looked up."""

from django.db import models

from recommender import ids
from recommender.intake.event_rows import Id
from recommender.models import Item


def test_an_item_s_column_holds_every_id():
    assert Item._meta.pk.max_length == ids.MAX_ID
    assert Id.__metadata__[0].max_length == ids.MAX_ID


def test_a_row_s_id_fits_its_column():
    assert models.BigIntegerField.MAX_BIGINT == ids.MAX_ROW_ID


def test_an_id_is_short_and_printable():
    assert ids.is_id("ä" * ids.MAX_ID)
    assert not any(map(ids.is_id, ("", "x" * (ids.MAX_ID + 1), "nul\0", "a\nb", "\ud800")))
