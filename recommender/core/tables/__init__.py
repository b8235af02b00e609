"""Hash tables with dense rows, and integer decay: the base of the other rooms."""

from recommender.core.tables.table import Table

__all__ = ["Table"]
