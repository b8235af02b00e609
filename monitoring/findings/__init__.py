"""Findings: verdicts gathered into what a person can look at, and everything a reviewer sees of them."""
