"""The migration that finds out which items an operator hid."""

from importlib import import_module

import pytest
from django.db import connection, transaction

from monitoring.audit import reviews
from monitoring.models import Review
from recommender.models import Item

MIGRATION = import_module("monitoring.migrations.0010_hidden_by_operators")


def run(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def record(item, is_hidden, note):
    with transaction.atomic():
        reviews.record(
            by="shell:olga", action=Review.Action.HIDE, note=note, subject={"item": item, "is_hidden": is_hidden}
        )


@pytest.mark.django_db
def test_only_items_whose_last_decision_hid_them_are_the_operators():
    for item, is_hidden in (("hidden", True), ("shown", False), ("site's", True), ("back", False), ("both", True)):
        Item.objects.create(id=item, is_hidden=is_hidden)
    record("hidden", True, "libel")
    record("shown", True, "x")
    record("shown", False, "y")
    record("back", True, "the site has shown it since")
    record("both", True, "x")
    record("both", False, "y")
    record("gone", True, "x")
    run(MIGRATION.MOVE)
    known = {each.id: each for each in Item.objects.all()}
    assert [id for id, each in known.items() if each.is_hidden_by_operator] == ["hidden"]
    assert [id for id, each in known.items() if each.is_hidden] == ["both", "site's"]
    hidden = known["hidden"]
    assert (hidden.hidden_by, hidden.hidden_note, hidden.is_hidden) == ("shell:olga", "libel", False)
    assert hidden.hidden_at == Review.objects.get(id=1).at
    run(MIGRATION.MOVE_BACK)
    assert sorted(Item.objects.filter(is_hidden=True).values_list("id", flat=True)) == ["both", "hidden", "site's"]
    assert not Item.objects.filter(hidden_at__isnull=False).exists()
