"""Create the event log, its keys, and the triggers that keep it append-only."""

from django.db import migrations

from recommender.log.partitions import ensure_partitions

CREATE_LOG = """
CREATE SEQUENCE recommender_event_seq;

CREATE TABLE recommender_event (
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    seq            bigint      NOT NULL DEFAULT nextval('recommender_event_seq'),
    received_at    timestamptz NOT NULL DEFAULT now(),
    occurred_at    timestamptz,
    bucket         smallint    NOT NULL,
    kind           smallint    NOT NULL,
    actor          text        COLLATE "C" NOT NULL,
    item           text        COLLATE "C" NOT NULL,
    event_key      bytea,
    session        text,
    value          double precision,
    recommendation text,
    position       integer,
    ip             text,
    user_agent     text,
    referrer       text,
    country        text
) PARTITION BY RANGE (received_at);

-- for the learner, which reads the log in commit order
CREATE INDEX recommender_event_position ON recommender_event (xid, seq);
-- for the last events of an actor
CREATE INDEX recommender_event_actor ON recommender_event (actor, seq);

-- The event ids seen so far. PostgreSQL wants the partition key in every unique constraint, so a retry after midnight
-- would be a new event. So the ids are in a separate table that is not partitioned. Its rows are deleted when the log's
-- retention passes them. Random keys take the space of deleted random keys, so the index does not bloat.
CREATE TABLE recommender_event_key (
    key         bytea PRIMARY KEY,
    received_on date  NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date
);
ALTER TABLE recommender_event_key ALTER COLUMN key SET STORAGE PLAIN;

CREATE FUNCTION recommender_refuse_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event log is append-only: % of a row is refused', TG_OP;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE ON recommender_event
    FOR EACH ROW EXECUTE FUNCTION recommender_refuse_update();

CREATE FUNCTION recommender_mark_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
CREATE TRIGGER mark_changed BEFORE INSERT OR UPDATE ON recommender_item
    FOR EACH ROW EXECUTE FUNCTION recommender_mark_item();

-- checkpoints are dense numbers, so compressing them saves nothing
ALTER TABLE recommender_checkpoint ALTER COLUMN data SET STORAGE EXTERNAL;
"""

DROP_LOG = """
DROP TRIGGER mark_changed ON recommender_item;
DROP FUNCTION recommender_mark_item;
DROP TABLE recommender_event_key;
DROP TABLE recommender_event;
DROP FUNCTION recommender_refuse_update;
DROP SEQUENCE recommender_event_seq;
"""


class Migration(migrations.Migration):
    dependencies = [("recommender", "0001_initial")]
    operations = [
        migrations.RunSQL(CREATE_LOG, DROP_LOG),
        migrations.RunPython(lambda apps, schema_editor: ensure_partitions(), migrations.RunPython.noop),
    ]
