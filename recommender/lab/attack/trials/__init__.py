"""Attacks against defences: single runs, the whole suite, and the honest cost."""
