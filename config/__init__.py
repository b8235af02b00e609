"""Run Groundswell: settings, processes, and the servers of a first run."""

__version__ = "0.3.0.dev0"
