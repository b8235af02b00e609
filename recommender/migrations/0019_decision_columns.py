"""Give the columns of a decision's events one length.

A failed erasure keeps the actor's id from here on, so that it can be tried again.

Up to now an erasure could remove an actor's events from a decision's `xid` and `seq`, and then write `before` with an
entry more for each of them. Such an entry is always -1, because the log and the verdicts no longer had the event.

What can be recovered: if the decision has no other entry of -1, those are the surplus ones. Without them `before` is
right again, and an undo gives each event its own verdict.

What cannot: if other entries are -1 too (events in no history), nothing tells them apart, so `before` becomes null.
The decision itself counts as before. Its undo is refused with a sentence that says why. The next fold over its step
(a revert, an erasure) writes `before` anew.

An erasure that met such a row began again every ten seconds. It is carried out after this migration.
"""

from django.db import migrations, models
from django.db.models import F, Q

IN_NO_HISTORY = -1


def heal(apps, schema_editor):
    decisions = apps.get_model("recommender", "Decision").objects.using(schema_editor.connection.alias)
    differing = decisions.filter(before__isnull=False).exclude(before__len=F("seq__len"))
    for number, seq, before in differing.values_list("pk", "seq", "before").iterator(chunk_size=100):
        left = [verdict for verdict in before if verdict != IN_NO_HISTORY]
        decisions.filter(pk=number).update(before=left if len(left) == len(seq) else None)


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0018_operators_hide_items'),
    ]

    operations = [
        migrations.RunPython(heal, migrations.RunPython.noop, elidable=True),
        migrations.AddConstraint(
            model_name='decision',
            constraint=models.CheckConstraint(
                condition=Q(xid__len=F('seq__len')) & (Q(before=None) | Q(before__len=F('seq__len'))),
                name='decision_columns_of_one_length',
            ),
        ),
        migrations.AlterField(
            model_name='erasure',
            name='actor',
            field=models.TextField(blank=True, help_text='Emptied when the erasure is done, so that no one is named afterwards.'),
        ),
        migrations.RemoveConstraint(model_name='erasure', name='over_is_not_named'),
        migrations.AddConstraint(
            model_name='erasure',
            constraint=models.CheckConstraint(condition=~Q(state='done') | Q(actor=''), name='done_is_not_named'),
        ),
    ]
