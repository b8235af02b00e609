"""Test that ids become keys and countries become small numbers."""

import pytest

from recommender.core import events
from recommender.core.events import Encoder, country_code, country_name


def test_keys_depend_on_the_secret_and_the_name_only():
    assert Encoder(b"a").key("ana") == Encoder(b"a").key("ana")
    assert len({Encoder(b"a").key("ana"), Encoder(b"b").key("ana"), Encoder(b"a").key("ben")}) == 3


def test_many_keys_are_the_single_ones():
    encoder = Encoder(b"")
    assert encoder.keys(["x", "y", "x"]).tolist() == [encoder.key("x"), encoder.key("y"), encoder.key("x")]


def test_the_memory_of_names_is_bounded(monkeypatch):
    monkeypatch.setattr(events, "N_CACHED", 10)
    encoder = Encoder(b"")
    keys = [encoder.key(str(number)) for number in range(25)]
    assert len(encoder._known) <= 10
    assert [encoder.key(str(number)) for number in range(25)] == keys


def test_a_secret_too_long_is_refused():
    with pytest.raises(ValueError, match="64 bytes"):
        Encoder(b"x" * 65)


@pytest.mark.parametrize("country", ["AA", "DE", "ZZ"])
def test_a_country_comes_back(country):
    assert country_name(country_code(country)) == country


@pytest.mark.parametrize("country", ["", "D", "de", "DEU", "D1", "ÄÖ", "\0\0"])
def test_what_is_no_country_is_unknown(country):
    assert country_code(country) == 0
