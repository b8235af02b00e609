"""Attacks tried on defences: single runs, the whole suite, and what honest readers pay."""
