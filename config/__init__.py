"""Run Groundswell: its settings, its web and worker processes, and the servers of a first run."""

__version__ = "0.2.0.dev0"
