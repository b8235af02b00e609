"""The event log in PostgreSQL, the source of truth: append, read, look up."""
