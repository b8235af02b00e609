"""The fingerprint of the secret of ids. The first start of a process writes it."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("recommender", "0013_log_columns")]

    operations = [
        migrations.CreateModel(
            name="IdFingerprint",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=32)),
                ("noted_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="one_fingerprint")],
            },
        ),
        migrations.AlterField(
            model_name="erasure",
            name="actor_hash",
            field=models.CharField(help_text="Keyed hash. See recommender.ids.", max_length=64),
        ),
    ]
