"""Helpers that tests share: invented sites and logs, servers, acts of people."""
