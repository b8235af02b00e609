"""An index for the decisions and notes about a finding."""

from django.db import migrations

CREATE = "CREATE INDEX monitoring_review_finding ON monitoring_review ((subject -> 'finding'), id)"


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0004_policy")]
    operations = [migrations.RunSQL(CREATE, "DROP INDEX monitoring_review_finding")]
