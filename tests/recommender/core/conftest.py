"""Fixtures and settings for all tests of the core."""

import pytest

from tests.help.forest_fits import fitted_once


@pytest.fixture(scope="session", autouse=True)
def _no_forest_is_fitted_twice():
    with fitted_once():
        yield
