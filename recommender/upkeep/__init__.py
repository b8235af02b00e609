"""Regular chores, and warnings before a limit of the servers is reached."""
