"""Tests of the log filter: probes leave no line."""

import logging

import pytest
from django.test import RequestFactory

from config.logs import WithoutProbes


@pytest.mark.parametrize(("path", "is_kept"), [("/health/ready", False), ("/api/v1/events", True), (None, True)])
def test_whoever_asks_whether_the_server_is_ready_is_answered_and_not_written_down(path, is_kept):
    record = logging.LogRecord("django.request", logging.ERROR, "", 0, "Service Unavailable", (), None)
    if path:
        record.request = RequestFactory().get(path)
    assert WithoutProbes().filter(record) is is_kept
