"""Hash tables with dense rows, and decay on a table of powers of two. Every other room of the core is built on them."""

from recommender.core.tables.table import Table

__all__ = ["Table"]
