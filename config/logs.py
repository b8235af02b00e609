"""What does not go into the log."""

import logging


class WithoutProbes(logging.Filter):
    """A server that is not ready says so to whoever asks, several times a second: to the log it need not as well."""

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(getattr(record, "request", None), "path", "") != "/health/ready"
