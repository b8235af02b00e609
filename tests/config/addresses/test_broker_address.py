"""The broker is found by every kind of address, and TLS is verified."""

import contextlib
import socket
import ssl
import threading

import pytest
from celery import Celery

from config.addresses import broker_address
from tests.help import certificates, stores
from tests.help.patience import wait_for


def app_of(url: str) -> Celery:
    app = Celery("tried", set_as_current=False)
    app.conf.update(broker_address.parse(url))
    return app


def ask(app: Celery) -> None:
    with app.connection_for_write(connect_timeout=2) as broker:
        broker.ensure_connection(max_retries=0, timeout=2)
        broker.default_channel.client.ping()


def test_an_address_without_tls_stays_as_it_is():
    for url in ("redis://h:6379/0", "redis+socket:///run/v.sock?virtual_host=0", "amqp://u:p@h:5672//"):
        assert broker_address.parse(url) == {
            "broker_url": url,
            "broker_use_ssl": None,
            "broker_transport_options": {},
        }


def test_tls_is_verified_by_default():
    of_redis = broker_address.parse("rediss://h:6380/1")["broker_use_ssl"]
    assert of_redis == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    of_amqp = broker_address.parse("amqps://h//")["broker_use_ssl"]
    assert of_amqp == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}  # kombu: the host of the address
    unverified = broker_address.parse("amqps://h//?ssl_cert_reqs=none")
    assert unverified == {
        "broker_url": "amqps://h//",
        "broker_use_ssl": {"cert_reqs": ssl.CERT_NONE},
        "broker_transport_options": {},
    }


@pytest.mark.parametrize(
    ("url", "said"),
    [("http://h", "redis://"), ("redis://h/0?ssl_cert_reqs=none", "rediss"), ("redis+sentinel://a", "SERVICE")],
)
def test_an_address_that_cannot_be_used_is_refused_with_the_reason(url, said):
    with pytest.raises(ValueError, match=said):
        broker_address.parse(url)


@pytest.mark.skipif(certificates.OPENSSL is None or stores.PROGRAM is None, reason="no openssl or no redis-server")
def test_the_broker_s_certificate_is_verified_unless_the_address_says_not_to(tmp_path):
    made_for = certificates.make(tmp_path)
    with stores.secured(made_for) as store:
        url = f"rediss://127.0.0.1:{store.port}/0"
        for refused in (url, f"{url}?ssl_ca_certs={made_for.other_authority}"):
            with pytest.raises(Exception, match=r"(?i)certificate"):
                ask(app_of(refused))
        for taken in (f"{url}?ssl_ca_certs={made_for.authority}", f"{url}?ssl_cert_reqs=none"):
            ask(app_of(taken))


@pytest.mark.skipif(stores.PROGRAM is None, reason="no redis-server")
def test_a_task_is_sent_before_and_after_a_failover():
    with stores.watched() as shop:
        app = app_of(shop.url)
        app.send_task("first", queue="learn-0", retry=False)
        assert shop.first.ask("LLEN", "learn-0", password=shop.PASSWORD) == 1
        shop.first.kill()

        def is_sent() -> bool:
            try:
                app.send_task("second", queue="learn-0", retry=False)
            except Exception:  # any error of a broker that is away
                return False
            return True

        wait_for(is_sent)
        assert shop.second.ask("LLEN", "learn-0", password=shop.PASSWORD) >= 1
        app.close()


@pytest.mark.skipif(certificates.OPENSSL is None, reason="no openssl")
@pytest.mark.parametrize(("host", "is_named"), [("127.0.0.1", True), ("127.0.0.2", False)])
def test_the_host_name_of_an_amqps_broker_is_verified(tmp_path, host, is_named):
    made_for = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made_for.certificate, made_for.key)
    heard = []

    def serve(listener):
        with contextlib.suppress(OSError):  # the end of the test
            while True:
                client, _ = listener.accept()
                with contextlib.suppress(OSError), client, context.wrap_socket(client, server_side=True) as secured:
                    heard.append(secured.recv(4))

    with socket.create_server((host, 0)) as listener:
        server = threading.Thread(target=serve, args=(listener,))
        server.start()
        url = f"amqps://{host}:{listener.getsockname()[1]}//?ssl_ca_certs={made_for.authority}"
        broker = app_of(url).connection_for_write(connect_timeout=5)
        with pytest.raises(OSError, match="closed" if is_named else "certificate"):
            broker.connect()
        listener.shutdown(socket.SHUT_RDWR)  # ends the wait for a client
        server.join()
    assert set(heard) == ({b"AMQP"} if is_named else set())
