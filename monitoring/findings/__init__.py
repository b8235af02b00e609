"""Findings: suspicious events gathered for review, and all that a reviewer sees."""
