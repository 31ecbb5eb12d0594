"""How clients connect to Kafka: no password is shown, and no silent peer blocks a client."""

import socket
from pathlib import Path

import pytest

from base import kafka_access
from base.kafka_access import KafkaAccess
from peyvand.local_cluster.certificates import Certificates


def test_no_password_is_shown() -> None:
    access = KafkaAccess("kafka:9092", "market", "secret-of-market")
    assert "secret-of-market" not in f"{access!r} {access} {[access]}" and "market" in repr(access)


def test_another_user_of_a_plaintext_access_is_none() -> None:
    assert KafkaAccess("kafka:9092").as_user("market", "secret") == KafkaAccess("kafka:9092")


def test_a_handshake_with_a_silent_peer_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the non-blocking sockets of kafka-python, which waits for it without a limit."""
    monkeypatch.setattr(kafka_access, "HANDSHAKE_TIMEOUT", 0.2)
    ca = Certificates(tmp_path / "certificates").prepare().ca
    context = KafkaAccess("kafka:9092", "market", "secret", str(ca)).tls()
    assert context is not None
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_connection(silent.getsockname()) as plain:
        plain.setblocking(False)
        with context.wrap_socket(plain, server_hostname="localhost", do_handshake_on_connect=False) as encrypted:
            with pytest.raises(TimeoutError):
                encrypted.do_handshake()
            assert encrypted.fileno() == -1, "closed"
