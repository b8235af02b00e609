"""Add columns for later versions, and keys that name the whole event.

Every column is new and empty or has a constant default, so PostgreSQL changes no row: it takes milliseconds on a log
of any size. It waits for statements that use the log at the moment, and others wait for it.

recommender_log_change remembers the last position that existed then, and when that was (recommender.log.buckets,
recommender.log.rollout). It has one row. In a new installation no process of an earlier version can run.

From here on moved rows belong to another shard (recommender.log.buckets), which a learner of 0.1.0 does not know. So
the same transaction stops the steps of every learner, by a constraint that no new step meets. The migration 0016
removes it, when steps name their version.
"""

from django.db import migrations, models

STOP_STEPS = "ALTER TABLE recommender_step ADD CONSTRAINT learners_of_0_1_stopped CHECK (number < 0) NOT VALID"
ALLOW_STEPS = "ALTER TABLE recommender_step DROP CONSTRAINT IF EXISTS learners_of_0_1_stopped"

ADD_COLUMNS = """
ALTER TABLE recommender_event
    ADD COLUMN site          smallint NOT NULL DEFAULT 1,
    ADD COLUMN campaign      text,
    ADD COLUMN is_crawler    boolean,   -- NULL: written by 0.1.0 or before, without the keys below
    ADD COLUMN list_validity smallint,  -- a ListValidity, NULL: no list was named
    ADD COLUMN actor_key     bigint,    -- keyed hashes (recommender.log.event_keys), NULL: unknown
    ADD COLUMN item_key      bigint,
    ADD COLUMN session_key   bigint,
    ADD COLUMN network       bigint,
    ADD COLUMN agent         bigint,
    ADD COLUMN referrer_key  bigint;

ALTER TABLE recommender_event_key
    ADD COLUMN content  bigint,                         -- hash of what a retry may not change, NULL: not known
    ADD COLUMN is_alias boolean NOT NULL DEFAULT false; -- written only for processes of 0.1.0

CREATE TABLE recommender_log_change (
    is_only         boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    xid             xid8        NOT NULL,  -- the last position before this migration, 0 in a new installation
    migrated_at     timestamptz NOT NULL DEFAULT now(),
    old_nodes_until timestamptz NOT NULL   -- equal to migrated_at if there are none
);
-- The log is locked by now, so no event can appear below the highest position.
WITH known AS (
    SELECT greatest(
        (SELECT xid::text::bigint FROM recommender_event ORDER BY xid DESC, seq DESC LIMIT 1),
        (SELECT max(xid) FROM recommender_learner), 0
    ) AS xid,
    EXISTS (SELECT FROM recommender_event_key) OR EXISTS (SELECT FROM recommender_apikey)
        OR EXISTS (SELECT FROM recommender_learner) AS is_used
)
INSERT INTO recommender_log_change (xid, old_nodes_until)
SELECT xid::text::xid8, now() + CASE WHEN is_used OR xid > 0 THEN interval '7 days' ELSE interval '0' END FROM known;
"""

DROP_COLUMNS = """
DROP TABLE recommender_log_change;
DELETE FROM recommender_event_key WHERE is_alias;
ALTER TABLE recommender_event_key DROP COLUMN content, DROP COLUMN is_alias;
ALTER TABLE recommender_event
    DROP COLUMN site, DROP COLUMN campaign, DROP COLUMN is_crawler, DROP COLUMN list_validity, DROP COLUMN actor_key,
    DROP COLUMN item_key, DROP COLUMN session_key, DROP COLUMN network, DROP COLUMN agent, DROP COLUMN referrer_key;
"""


class Migration(migrations.Migration):
    dependencies = [("recommender", "0012_log_origin")]
    operations = [
        migrations.RunSQL(STOP_STEPS, ALLOW_STEPS),
        migrations.RunSQL(ADD_COLUMNS, DROP_COLUMNS),
        migrations.CreateModel(
            name="Site",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100, unique=True)),
            ],
        ),
        migrations.RunSQL("INSERT INTO recommender_site (id, name) VALUES (1, 'default')", migrations.RunSQL.noop),
        *(
            migrations.AddField(
                model_name=name, name="site", field=models.SmallIntegerField(db_default=1, default=1, editable=False)
            )
            for name in ("item", "apikey", "learner")
        ),
    ]
