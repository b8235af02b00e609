"""Checkpoints of a Pipeline: pieces and the row that names them.

The room writes them, reads them back, and drops those that are no longer needed.
"""
