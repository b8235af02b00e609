"""Put a generation before the server's transaction ids.

So positions survive a move to another server. `recommender.log.origin` explains positions, and raises the generation.
"""

from typing import Any

from django.db import migrations

from recommender.log.partitions import partition, partitions

# The bodies are parsed here, so they work under any search_path, as in pg_restore or a replication worker.
CREATE_ORIGIN = """
-- The server that the log's newest positions come from. It has one row.
CREATE TABLE recommender_log_origin (
    is_only           boolean     PRIMARY KEY DEFAULT true CHECK (is_only),
    generation        integer     NOT NULL CHECK (generation BETWEEN 0 AND 32767),
    started_at        timestamptz NOT NULL,  -- of the server's process
    system_identifier text,                  -- NULL: the server does not tell it
    objects           text        NOT NULL,  -- numbers of the database and of this table, new in every logical copy
    recognised_at     timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION recommender_system_identifier() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT system_identifier::text FROM pg_control_system());
EXCEPTION WHEN OTHERS THEN  -- a managed server may refuse this function, or not have it
    RETURN NULL;
END $$;

CREATE FUNCTION recommender_objects() RETURNS text LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT d.oid || '.' || 'recommender_log_origin'::regclass::oid FROM pg_database AS d
    WHERE d.datname = current_database();
END;

-- The number that this server's transaction ids are added to. NULL: this is not the server known.
CREATE FUNCTION recommender_xid_base() RETURNS bigint LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT generation::bigint << 48 FROM recommender_log_origin WHERE started_at = pg_postmaster_start_time();
END;

CREATE FUNCTION recommender_refuse_server() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the event log does not know this server yet, or knows it from before its last restart'
        USING ERRCODE = '57G01', HINT = 'Groundswell recognises it by itself when it next appends or wakes a learner.';
END $$;

-- The position of the present transaction.
CREATE FUNCTION recommender_xid() RETURNS xid8 LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT (coalesce(recommender_xid_base(), recommender_refuse_server())
            + pg_current_xact_id()::text::bigint)::text::xid8;
END;

-- No event can appear any more below this position.
CREATE FUNCTION recommender_readable_before() RETURNS xid8 LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT (coalesce(recommender_xid_base(), recommender_refuse_server())
            + pg_snapshot_xmin(pg_current_snapshot())::text::bigint)::text::xid8;
END;

ALTER TABLE recommender_event ALTER COLUMN xid SET DEFAULT recommender_xid();
-- An erasure deletes rows, which logical replication can only repeat by the whole row: the log has no unique key.
ALTER TABLE recommender_event REPLICA IDENTITY FULL;

-- An item written on a server that is not known yet counts as changed, always. Recognising the server writes it again.
CREATE OR REPLACE FUNCTION recommender_mark_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := coalesce(recommender_xid_base() + pg_current_xact_id()::text::bigint, 1::bigint << 62);
    RETURN NEW;
END $$;
-- PL/pgSQL looks names up when it runs: pg_restore has an empty search_path then.
ALTER FUNCTION recommender_mark_item() SET search_path FROM CURRENT;

-- A dump of an earlier version may have been restored on a server whose counter is behind. An empty log may still get
-- rows that were copied from another server, so its server counts as not known until the first append.
INSERT INTO recommender_log_origin (generation, started_at, system_identifier, objects)
SELECT (highest >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint)::int,
       CASE WHEN highest > 0 THEN pg_postmaster_start_time() ELSE '-infinity' END,
       recommender_system_identifier(), recommender_objects()
FROM (SELECT greatest(
    (SELECT max(xid::text::bigint) FROM (SELECT xid FROM recommender_event ORDER BY xid DESC LIMIT 1) AS last),
    (SELECT max(xid) FROM recommender_learner),
    (SELECT max(changed_xid) FROM recommender_item),
    0
) AS highest) AS known;
"""

DROP_ORIGIN = """
DO $$ BEGIN
    IF (SELECT generation FROM recommender_log_origin) > 0 THEN
        RAISE EXCEPTION 'the log was moved between servers, and the version before cannot read it';
    END IF;
END $$;
CREATE OR REPLACE FUNCTION recommender_mark_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    RETURN NEW;
END $$;
ALTER FUNCTION recommender_mark_item() RESET search_path;
ALTER TABLE recommender_event ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE recommender_event REPLICA IDENTITY DEFAULT;
DROP FUNCTION recommender_readable_before;
DROP FUNCTION recommender_xid;
DROP FUNCTION recommender_refuse_server;
DROP FUNCTION recommender_xid_base;
DROP FUNCTION recommender_objects;
DROP FUNCTION recommender_system_identifier;
DROP TABLE recommender_log_origin;
"""


def identify_rows(_apps: Any, schema_editor: Any) -> None:
    """Let logical replication repeat deletions in the days that have a partition."""
    for day in partitions():
        schema_editor.execute(f"ALTER TABLE {partition(day)} REPLICA IDENTITY FULL")


class Migration(migrations.Migration):
    dependencies = [("recommender", "0011_trial")]
    operations = [
        migrations.RunSQL(CREATE_ORIGIN, DROP_ORIGIN),
        migrations.RunPython(identify_rows, migrations.RunPython.noop),
    ]
