"""Tests of the addresses in the settings."""
