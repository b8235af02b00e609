"""The queue of findings by exposure and words, reviews by words, and chain checks."""

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import migrations, models

from monitoring.text_search import Words

# Derived from the note, and not hashed, so the chain stays the same.
REVIEW_WORDS = f"""
ALTER TABLE monitoring_review
    ADD COLUMN words tsvector GENERATED ALWAYS AS ({Words.template % {"expressions": "note"}}) STORED;
CREATE INDEX monitoring_review_words ON monitoring_review USING gin (words);
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", '0006_tables')]

    operations = [
        migrations.CreateModel(
            name="ChainCheck",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("by", models.CharField(max_length=200)),
                (
                    "after_id",
                    models.BigIntegerField(
                        help_text="The check trusted rows up to this one, as an earlier check found them."
                    ),
                ),
                ("head_id", models.BigIntegerField(help_text="The last row checked, with its hash.")),
                ("head_hash", models.CharField(max_length=64)),
                ("n_rows", models.BigIntegerField(help_text="Number of rows checked.")),
                ("n_problems", models.BigIntegerField()),
                (
                    "problems",
                    models.JSONField(default=list, help_text="The first problems, as [row, problem]."),
                ),
                ("took_ms", models.FloatField()),
            ],
            options={"ordering": ["-id"], "default_permissions": ()},
        ),
        migrations.AddIndex(
            model_name="finding",
            index=models.Index(
                condition=models.Q(("state", "open")),
                fields=["-exposure", "-id"],
                name="finding_open_by_exposure",
            ),
        ),
        migrations.AddField(
            model_name="finding",
            name="words",
            field=models.GeneratedField(
                db_persist=True,
                editable=False,
                expression=Words("title", "item"),
                output_field=SearchVectorField(),
            ),
        ),
        migrations.AddIndex(model_name="finding", index=GinIndex(fields=["words"], name="finding_words")),
        migrations.RunSQL(REVIEW_WORDS, "ALTER TABLE monitoring_review DROP COLUMN words"),
        migrations.AlterField(
            model_name="review",
            name="action",
            field=models.CharField(
                choices=[
                    ("freeze", "Freeze"),
                    ("thaw", "Thaw"),
                    ("revert", "Revert"),
                    ("release", "Release"),
                    ("confirm", "Confirm"),
                    ("erase", "Erase"),
                    ("promote", "Promote"),
                    ("pin", "Pin"),
                    ("note", "Note"),
                    ("alarm", "Alarm"),
                    ("hide", "Hide"),
                    ("settings", "Settings"),
                    ("undo", "Undo"),
                ],
                max_length=20,
            ),
        ),
    ]
