"""The event log in PostgreSQL: append, read in commit order, look up. The source of truth."""
