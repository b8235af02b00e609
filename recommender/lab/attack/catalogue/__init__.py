"""Attacks and honest look-alikes, and the site that they are planned for."""
