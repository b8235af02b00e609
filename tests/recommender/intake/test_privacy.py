"""Test that PRIVACY decides what is kept of an event's origin, for every text."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from recommender.core.events import Encoder, network_of
from recommender.intake import privacy
from recommender.intake.privacy import (
    MAX_FAMILY,
    MAX_HOST,
    agent_family,
    referrer_host,
    shown_agent,
    shown_ip,
    shown_referrer,
)

FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
SENT = ("192.0.2.77", FIREFOX, "https://ana@news.example/a?session=17")


def shown(sent=SENT):
    ip, user_agent, referrer = sent
    return shown_ip(ip), shown_agent(user_agent), shown_referrer(referrer)


@pytest.mark.parametrize(
    ("level", "kept"),
    [
        (privacy.RAW, SENT),
        (privacy.TRUNCATED, ("192.0.2.0/24", "Firefox", "news.example")),
        (privacy.NONE, (None, None, None)),
    ],
)
def test_each_level_keeps_its_part(settings, level, kept):
    settings.PRIVACY = level
    assert shown() == kept
    assert shown((None, None, None)) == shown(("", "", "")) == (None, None, None)


def test_the_default_keeps_the_network_the_family_and_the_host(settings):
    assert settings.PRIVACY == privacy.TRUNCATED


def test_a_truncated_address_is_the_network_that_the_screen_counts(settings):
    settings.PRIVACY = privacy.TRUNCATED
    encoder = Encoder(b"secret")
    for ip in ("192.0.2.77", "2001:db8:1:2::3", "::ffff:192.0.2.9"):
        assert network_of(shown_ip(ip)) == network_of(ip) == shown_ip(ip)
        assert encoder._address_key(shown_ip(ip)) == encoder._address_key(ip) != 0


@pytest.mark.parametrize(
    ("user_agent", "family"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/141.0.0.0 Safari/537.36", "Chrome"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) {SAFARI}", "Mobile Safari"),
        (
            f"Mozilla/5.0 (Linux; Android 14) {WEBKIT} SamsungBrowser/25.0 Chrome/121.0 Safari/537.36",
            "Samsung Internet",
        ),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Googlebot"),
        ("prefetch " + FIREFOX, "Firefox"),
        ("python-requests/2.32.3", "Python Requests"),
        ("Ana's own reader, build 17", "other"),
        ("\N{GRINNING FACE}" * 500, "other"),
    ],
)
def test_a_user_agent_keeps_its_family(user_agent, family):
    assert agent_family(user_agent) == family


@pytest.mark.parametrize(
    ("referrer", "host"),
    [
        ("https://News.Example/a/b?q=ana#c", "news.example"),
        ("https://ana:secret@news.example:8443/", "news.example"),
        ("//news.example/a", "news.example"),
        ("news.example/a?b=//c", "news.example"),
        ("news.example", "news.example"),
        ("ana.blog.example.co.uk", "ana.blog.example.co.uk"),
        ("android-app://com.google.android.gm/", "com.google.android.gm"),
        ("https://bücher.example/", "bücher.example"),
        ("https://news.example./", "news.example"),
        ("http://192.0.2.77:8080/", "192.0.2.0/24"),
        ("http://[2001:db8:1:2::3]/", "2001:db8:1::/48"),
        ("http://[half", "other"),
        ("http://[v1.not-an-address]/", "v1.not-an-address"),
        ("https://", "other"),
        ("/only/a/path", "other"),
        ("about:blank", "about"),
        ("data:text/html,<b>ana</b>", "data"),
        ("mailto:ana@news.example", "news.example"),
        ("https://" + "a" * 300 + ".example/", "other"),
        ("https://a b/", "other"),
        ("https://\u2100.example/", "other"),
    ],
)
def test_a_referrer_keeps_its_host(referrer, host):
    assert referrer_host(referrer) == host


@given(text=st.text(max_size=1100))
@examples(max_examples=200)
def test_any_text_at_all_is_answered_within_bounds(text):
    assert len(agent_family(text)) <= MAX_FAMILY
    assert 0 < len(referrer_host(text)) <= MAX_HOST
    assert network_of(text) is None or "/" in network_of(text)
