"""Empty the tables that a test has filled, and no others.

Django's flush gives each table and index a new file and makes all permissions again, which takes 0.2 s.
Most tests fill five tables with a few rows, and deleting these takes 5 ms.
"""

from django.db import connection, transaction

LARGE = 2**20  # bytes, from which a new file costs less than deleting the rows
EVENTS = ("recommender_event", "recommender_event_key")
# Migrations fill them, and every test may count on what they hold.
_KEPT = frozenset({"django_content_type", "auth_permission", "django_migrations", "recommender_site"})


def empty_all() -> None:
    """Empty every table of a model that Django manages, as its flush does."""
    empty(sorted(set(connection.introspection.django_table_names(include_views=False)) - _KEPT))


def empty_log() -> None:
    """Empty the event log, which Django does not manage."""
    empty(EVENTS)


def empty_reviews() -> None:
    """Empty the audit chain past the trigger that refuses it."""
    table = "monitoring_review"
    empty(
        [table],
        before=f"ALTER TABLE {table} DISABLE TRIGGER append_only",
        after=f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only",
    )


def empty(tables, *, before="", after="") -> None:
    """Empty tables once every transaction that writes into them has ended.

    Foreign keys are checked at the commit, so the order does not matter.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
        cursor.execute(" UNION ALL ".join(map(_size_if_filled, tables)))
        if filled := cursor.fetchall():
            emptied = [f"TRUNCATE {name} CASCADE" if size > LARGE else f"DELETE FROM {name}" for name, size in filled]
            cursor.execute(";".join(filter(None, (before, *emptied, after))))


def _size_if_filled(table: str) -> str:
    parts = f"SELECT sum(pg_table_size(relid)) FROM pg_partition_tree('{table}')"  # no rows for a table without parts
    return f"SELECT '{table}', coalesce(({parts}), pg_table_size('{table}')) WHERE EXISTS (SELECT FROM {table})"
