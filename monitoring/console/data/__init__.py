"""Data for the console's pages.

These modules only read. They are bounded for every request, and their order is stable.
"""
