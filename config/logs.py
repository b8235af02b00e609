"""Filters of the log."""

import logging


class WithoutProbes(logging.Filter):
    """Drop log records of /health/ready.

    Probes ask several times a second and get the answer "not ready" directly. The log need not repeat it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(getattr(record, "request", None), "path", "") != "/health/ready"
