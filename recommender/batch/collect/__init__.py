"""Collect logs: rows from the log, archives and files, merged into one log in order of time."""
