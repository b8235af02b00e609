"""Collect rows of the log, of archives and of files into one log in order of time."""
