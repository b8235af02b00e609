"""Rehearsals of an incident, of the policy on a log, and of the console when full."""
