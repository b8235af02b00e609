"""Add the decisions of operators about items, and deleted items."""

from django.db import migrations, models

# The version before knows no operators' decisions and no deleted items.
TO_BEFORE = """
UPDATE recommender_item SET is_hidden = true WHERE hidden_at IS NOT NULL;
DELETE FROM recommender_item WHERE NOT is_described AND hidden_at IS NULL;
"""


class Migration(migrations.Migration):
    dependencies = [("recommender", "0017_checkpoint_pieces")]
    operations = [
        migrations.AlterField(
            model_name="item",
            name="is_hidden",
            field=models.BooleanField(default=False, help_text="The site hides it. Never listed while set."),
        ),
        migrations.AddField(
            model_name="item",
            name="is_described",
            field=models.BooleanField(db_default=True, default=True, editable=False),
        ),
        migrations.AddField(
            model_name="item",
            name="deleted_at",
            field=models.DateTimeField(
                editable=False, help_text="Not listed until the site sends it again.", null=True
            ),
        ),
        migrations.AddField(
            model_name="item",
            name="hidden_at",
            field=models.DateTimeField(editable=False, help_text="An operator hides it since then.", null=True),
        ),
        migrations.AddField(
            model_name="item",
            name="hidden_by",
            field=models.CharField(blank=True, db_default="", editable=False, max_length=200),
        ),
        migrations.AddField(
            model_name="item",
            name="hidden_note",
            field=models.CharField(blank=True, db_default="", editable=False, max_length=2000),
        ),
        migrations.AddField(
            model_name="item",
            name="n_show_attempts",
            field=models.IntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="How often the site tried to show it since `hidden_at`.",
            ),
        ),
        migrations.AddField(
            model_name="item",
            name="show_attempted_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="item",
            index=models.Index(
                fields=["-hidden_at", "id"],
                condition=models.Q(("hidden_at__isnull", False)),
                name="item_hidden_by_operator",
            ),
        ),
        migrations.AddConstraint(
            model_name="item",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_described", False), ("deleted_at", None), _connector="OR"),
                name="deleted_is_not_described",
            ),
        ),
        migrations.RunSQL(migrations.RunSQL.noop, TO_BEFORE),
    ]
