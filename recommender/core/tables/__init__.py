"""Hash tables with dense rows, and decay by a table of powers of two: what the other rooms are built on."""

from recommender.core.tables.table import Table

__all__ = ["Table"]
