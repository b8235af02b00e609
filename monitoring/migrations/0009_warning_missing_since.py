from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0008_database_times'),
    ]

    operations = [
        migrations.AddField(
            model_name='toldwarning',
            name='missing_since',
            field=models.DateTimeField(help_text='The time from which on it was not seen again.', null=True),
        ),
    ]
