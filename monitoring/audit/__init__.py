"""Decisions written down for good: append-only, in a hash chain that can be checked."""
