"""How a client connects to Kafka: one value, made once from the settings and passed down to every client."""

import ssl
from typing import Any

import msgspec

MECHANISM = "SCRAM-SHA-512"
HANDSHAKE_TIMEOUT = 5.0  # seconds


class KafkaAccess(msgspec.Struct, frozen=True):
    """An address and a user; always TLS with SCRAM, or, without a user, plaintext, which only development allows."""

    bootstrap: str  # host:port, separated by commas
    user: str = ""
    password: str = ""
    ca: str = ""  # file with the authorities of the brokers' certificates; the system's if empty

    def __repr__(self) -> str:
        """Return a text without the password."""
        return f"KafkaAccess({self.bootstrap!r}, {self.user!r})"

    __str__ = __repr__

    def as_user(self, user: str, password: str) -> "KafkaAccess":
        """Return the access of another user; the same if it is plaintext."""
        return msgspec.structs.replace(self, user=user, password=password) if self.user else self

    def tls(self) -> ssl.SSLContext | None:
        """Return what verifies the brokers, their names included; None if it is plaintext."""
        if not self.user:
            return None
        context = ssl.create_default_context(cafile=self.ca or None)
        context.sslsocket_class = BoundedHandshake
        return context

    def options(self) -> dict[str, Any]:
        """Return the options of a client of kafka-python or aiokafka, which have the same names."""
        if not self.user:
            return {"bootstrap_servers": self.bootstrap}
        return {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": MECHANISM,
            "sasl_plain_username": self.user,
            "sasl_plain_password": self.password,
            "ssl_context": self.tls(),
        }


class BoundedHandshake(ssl.SSLSocket):
    """A connection whose handshake ends, and which is closed where it fails.

    kafka-python sets no limit, so that one silent peer would block its client for ever, and leaves it open.
    asyncio, and therefore aiokafka, has limits of its own and does not use this class.
    """

    def do_handshake(self, block: bool = False) -> None:
        """Wait for the handshake, also on a non-blocking socket. Raise OSError, as TimeoutError."""
        timeout = self.gettimeout()
        self.settimeout(HANDSHAKE_TIMEOUT)
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise
        self.settimeout(timeout)
