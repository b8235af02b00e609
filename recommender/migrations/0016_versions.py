"""Give learners, checkpoints and steps the version of the fold that wrote them.

All rows so far are of version 1. The columns keep no default in the database, so an older learner, which does not name
them, cannot record a step. So the constraint by which the migration 0013 stopped it is no longer needed.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

import recommender.models.learning

# As in the migration 0013.
STOP_STEPS = "ALTER TABLE recommender_step ADD CONSTRAINT learners_of_0_1_stopped CHECK (number < 0) NOT VALID"
ALLOW_STEPS = "ALTER TABLE recommender_step DROP CONSTRAINT IF EXISTS learners_of_0_1_stopped"


def _version(**more):
    return models.SmallIntegerField(default=recommender.models.learning.present_version, **more)


class Migration(migrations.Migration):

    dependencies = [
        ('recommender', '0015_database_times'),
    ]

    operations = [
        migrations.CreateModel(
            name='Upgrade',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('shard', models.SmallIntegerField()),
                ('step', models.BigIntegerField(help_text='The last step before the change.')),
                ('from_version', models.SmallIntegerField()),
                ('to_version', models.SmallIntegerField()),
                ('from_release', models.CharField(help_text='The first release with that version.', max_length=40)),
                ('to_release', models.CharField(max_length=40)),
                ('before', models.BigIntegerField(help_text='The last checkpoint of the older version. Null if it was folded from nothing.', null=True)),
                ('before_step', models.BigIntegerField(help_text='Step of that checkpoint. The newer version folded the steps after it again.')),
                ('before_digest', models.CharField(blank=True, max_length=64)),
                ('after', models.BigIntegerField(help_text='The first checkpoint of the newer version, at `step`.')),
                ('after_digest', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['shard', 'step'], name='upgrade_at_a_step')],
            },
        ),
        *(
            operation
            for name, help_text in (
                ('checkpoint', 'The version that wrote the state.'),
                ('learner', 'The version that learns the shard. Older ones do nothing for it.'),
                ('step', 'The version that folded the step.'),
            )
            for operation in (
                migrations.AddField(name, 'fold_version', models.SmallIntegerField(default=1), preserve_default=False),
                migrations.AlterField(name, 'fold_version', _version(help_text=help_text)),
            )
        ),
        migrations.AlterField('checkpoint', 'recipe', models.JSONField(default=recommender.models.learning.beginning, help_text='See recommender.history.')),
        migrations.AlterField('learner', 'recipe', models.JSONField(default=recommender.models.learning.beginning, help_text='See recommender.history.')),
        migrations.RunSQL(ALLOW_STEPS, STOP_STEPS),
    ]
