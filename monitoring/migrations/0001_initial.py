"""The audit chain with its protection against changes, and the outbox of messages."""

from django.db import migrations, models

CREATE_REVIEW = """
CREATE TABLE monitoring_review (
    id            bigint       PRIMARY KEY CHECK (id > 0),  -- given under the lock: no gaps, unlike a sequence
    at            timestamptz  NOT NULL,
    by            varchar(200) NOT NULL CHECK (by <> ''),
    user_id       bigint,
    action        varchar(20)  NOT NULL CHECK (action <> ''),
    scope         varchar(200) NOT NULL,
    shard         smallint,
    subject       jsonb        NOT NULL CHECK (jsonb_typeof(subject) = 'object' AND length(subject::text) <= 16384),
    note          varchar(2000) NOT NULL CHECK (note ~ '\\S'),
    before_digest varchar(64)  NOT NULL CHECK (before_digest ~ '^([0-9a-f]{64})?$'),
    after_digest  varchar(64)  NOT NULL CHECK (after_digest ~ '^([0-9a-f]{64})?$'),
    -- each row is followed by one at most: a fork is refused even where the lock was not taken
    previous_hash varchar(64)  NOT NULL UNIQUE CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
    hash          varchar(64)  NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$')
);
CREATE INDEX monitoring_review_action ON monitoring_review (action, id);
CREATE INDEX monitoring_review_at ON monitoring_review (at);
CREATE INDEX monitoring_review_user ON monitoring_review (user_id);

CREATE FUNCTION monitoring_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'decisions are append-only: % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON monitoring_review
    FOR EACH STATEMENT EXECUTE FUNCTION monitoring_refuse_change();
-- also in a session that calls itself a replica
ALTER TABLE monitoring_review ENABLE ALWAYS TRIGGER append_only;
"""

DROP_REVIEW = """
DROP TABLE monitoring_review;
DROP FUNCTION monitoring_refuse_change;
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL(CREATE_REVIEW, DROP_REVIEW),
        migrations.CreateModel(
            name="Review",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(help_text="Time by the database's clock.")),
                (
                    "by",
                    models.CharField(
                        help_text="An account, `policy`, `api:KEY NAME` or `shell:ACCOUNT`.", max_length=200
                    ),
                ),
                (
                    "action",
                    models.CharField(
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
                            ("settings", "Settings"),
                        ],
                        max_length=20,
                    ),
                ),
                ("scope", models.CharField(blank=True, help_text="The list that it is about. Empty: all lists.", max_length=200)),
                ("shard", models.SmallIntegerField(null=True)),
                ("subject", models.JSONField(help_text="The ids and numbers that it is about. No actors.")),
                ("note", models.CharField(help_text="The reason.", max_length=2000)),
                ("before_digest", models.CharField(blank=True, max_length=64)),
                ("after_digest", models.CharField(blank=True, max_length=64)),
                ("previous_hash", models.CharField(max_length=64, unique=True)),
                ("hash", models.CharField(max_length=64, unique=True)),
            ],
            options={
                "db_table": "monitoring_review",
                "ordering": ["-id"],
                "permissions": [
                    ("view_console", "Can see the console"),
                    ("review", "Can release and confirm held events"),
                    ("operate", "Can freeze, thaw, revert, pin and erase"),
                ],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Notification",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", models.UUIDField(help_text="The same in every try and in every channel.")),
                ("channel", models.CharField(choices=[("webhook", "Webhook"), ("email", "Email")], max_length=10)),
                ("kind", models.CharField(max_length=50)),
                ("title", models.CharField(max_length=200)),
                (
                    "is_urgent",
                    models.BooleanField(default=False, help_text="Mailed at once, not with the next digest."),
                ),
                ("payload", models.JSONField()),
                (
                    "state",
                    models.CharField(
                        choices=[("pending", "Pending"), ("sent", "Sent"), ("failed", "Failed")],
                        default="pending",
                        max_length=10,
                    ),
                ),
                ("attempts", models.IntegerField(default=0)),
                ("next_at", models.DateTimeField(help_text="Not tried before this time.")),
                ("last_error", models.CharField(blank=True, max_length=500)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("sent_at", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("state", "pending")),
                        fields=["channel", "next_at"],
                        name="notification_pending",
                    ),
                    models.Index(fields=["created_at"], name="notification_created_at"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("event_id", "channel"), name="one_notification_a_channel"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("sent_at__isnull", False), ("state", "sent")),
                            models.Q(models.Q(("state", "sent"), _negated=True), ("sent_at", None)),
                            _connector="OR",
                        ),
                        name="sent_has_a_time",
                    ),
                ],
            },
        ),
    ]
