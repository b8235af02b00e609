"""The view store is found by every kind of address, and TLS is verified."""

import pytest
import redis

from recommender.api.api_keys import Key
from recommender.api.rate_limits import Rates
from recommender.connections import store_address
from recommender.errors import RateLimited
from tests.help import certificates, stores
from tests.help.patience import PATIENCE_S, wait_for


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:6379/1",
        "redis://user:p%40ss@[2001:db8::1]:6379/1",
        "rediss://h:6379/0?ssl_check_hostname=false",
        "unix:///run/valkey.sock?db=3",
        "redis+sentinel://a,b:26380/shop/2",
        "rediss+sentinel://:x@a/shop?ssl_cert_reqs=none",
    ],
)
def test_an_address_of_a_known_kind_is_taken(url):
    store_address.check(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h/0", "redis://"),
        ("redis://h/0?colour=red", "colour"),
        ("redis://h:port/0", "Port"),
        ("redis://h/0?ssl_ca_certs=/etc/ca.pem", "needs rediss://"),
        ("rediss://h/0?ssl_ca_certs=/no/such/file", "/no/such/file"),
        ("rediss://h/0?ssl_cert_reqs=optional", "required or none"),
        ("rediss://h/0?ssl_check_hostname=perhaps", "true or false"),
        ("redis+sentinel://a,b", "SERVICE"),
        ("redis+sentinel://a,b/shop/first", "SERVICE"),
        ("redis+sentinel://a,,b/shop", "each sentinel"),
        ("redis+sentinel://a/shop?colour=red", "colour"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_reason(url, said):
    with pytest.raises(ValueError, match=said):
        store_address.check(url)


def test_the_parts_of_an_address_with_sentinels_are_found():
    address = store_address.parse_sentinels(
        "redis+sentinel://u:p%2F@a,[2001:db8::1]:7/shop/3?sentinel_password=s%20t"
    )
    assert address.hosts == (("a", 26379), ("2001:db8::1", 7))
    assert (address.service, address.db, address.tls) == ("shop", 3, None)
    assert (address.login, address.sentinel_login) == ({"username": "u", "password": "p/"}, {"password": "s t"})
    assert "p/" not in repr(address)


@pytest.mark.skipif(certificates.OPENSSL is None or stores.PROGRAM is None, reason="no openssl or no redis-server")
def test_a_certificate_is_verified_unless_the_address_says_not_to(tmp_path):
    made_for = certificates.make(tmp_path)
    with stores.secured(made_for) as store:
        url = f"rediss://127.0.0.1:{store.port}/0"
        for refused in (url, f"{url}?ssl_ca_certs={made_for.other_authority}"):
            client = store_address.connect(refused, timeout_s=PATIENCE_S)
            with client, pytest.raises(redis.ConnectionError, match=r"(?i)certificate"):
                client.ping()
        for taken in (f"{url}?ssl_ca_certs={made_for.authority}", f"{url}?ssl_cert_reqs=none"):
            store_address.check(taken)
            with store_address.connect(taken, timeout_s=PATIENCE_S) as client:
                assert client.ping()


@pytest.mark.skipif(stores.PROGRAM is None, reason="no redis-server")
def test_the_view_and_the_rate_limits_follow_a_failover(settings):
    with stores.watched() as shop:
        settings.VIEW_URL = shop.url
        store_address.check(shop.url)
        client = store_address.connect(shop.url, timeout_s=5.0)
        client.set("board", "1")
        client.wait(1, int(PATIENCE_S * 1000))
        rates, key = Rates(window_s=3600), Key(id=1, name="shop", scopes=("ingest",), rate_per_s=1)
        rates.charge(key, cost=1)
        with pytest.raises(RateLimited):
            rates.charge(key, cost=1)
        shop.first.kill()

        def read():
            try:
                return client.set("after", "2") and client.get("board")
            except redis.RedisError:
                return None

        assert wait_for(read) == b"1"
        assert shop.second.ask("GET", "after", password=shop.PASSWORD) == "2"
        client.close()
