"""Rehearsals: an incident from beginning to end, the policy on a recorded log, the console on a full database."""
