"""Test that ids become keys and countries become small numbers."""

from ipaddress import ip_address, ip_network

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recommender.core.events import Encoder, country_code, country_codes, country_name, group_of, network_of


def test_keys_depend_on_the_secret_and_the_name_only():
    assert Encoder(b"a").key("ana") == Encoder(b"a").key("ana")
    assert len({Encoder(b"a").key("ana"), Encoder(b"b").key("ana"), Encoder(b"a").key("ben")}) == 3


def test_many_keys_are_the_single_ones():
    encoder = Encoder(b"")
    assert encoder.keys(["x", "y", "x"]).tolist() == [encoder.key("x"), encoder.key("y"), encoder.key("x")]


def test_the_memory_of_names_is_bounded():
    encoder = Encoder(b"", n_cached=10)
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


@given(pairs=st.lists(st.binary(min_size=2, max_size=2)))
def test_many_countries_are_the_single_ones(pairs):
    letters = np.frombuffer(b"".join(pairs), np.uint8).reshape(-1, 2)
    assert country_codes(letters).tolist() == [country_code(pair.decode("latin-1")) for pair in pairs]


def by_the_library(text):
    """Return the network and its group as Python's own library has them."""
    try:
        address = ip_address(text)
    except ValueError:
        return None, None
    address = getattr(address, "ipv4_mapped", None) or address
    network = ip_network((address, 24 if address.version == 4 else 48), strict=False)
    return str(network), str(network.supernet(new_prefix=16 if network.version == 4 else 32))


@given(
    text=st.ip_addresses().map(str)
    | st.ip_addresses(v=6).map(lambda ip: ip.exploded.upper())
    | st.binary(min_size=4, max_size=4).map(lambda raw: str(ip_address(bytes(10) + b"\xff\xff" + raw)))
    | st.binary(min_size=4, max_size=4).map(lambda raw: str(ip_address(bytes(12) + raw)))
    | st.text(max_size=20)
)
@example(text="fe80::1%eth0")
@example(text="01.2.3.4")
@example(text="1.2.3")
@example(text="::ffff:1.2.3.4")
@example(text="::1.2.3.4")
@example(text="1:2:3:4:5:6:7::")
@example(text="0:0:1::")
@example(text="1.2.3.4\0")
def test_networks_are_those_of_pythons_library(text):
    network, group = by_the_library(text)
    assert network_of(text) == network
    assert network is None or group_of(network) == group


def test_what_is_no_network_has_no_group():
    with pytest.raises(ValueError, match="no network"):
        group_of("everywhere")
