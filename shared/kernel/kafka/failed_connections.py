"""What kafka-python leaves open when a connection fails is closed: see `close_failed_connections`."""

from functools import cache
from typing import Any


@cache
def close_failed_connections() -> None:
    """Make kafka-python close what does not connect: each socket, and of a new client its thread and its selector.

    It leaves the sockets to the garbage collector and the threads for ever: while a broker is away, a worker would
    lose a file descriptor a second, and a thread at each attempt.
    """
    from kafka.net.inet import KafkaNetSocket
    from kafka.net.manager import KafkaConnectionManager

    connect, bootstrap = KafkaNetSocket.sock_connect, KafkaConnectionManager.bootstrap

    async def sock_connect(self: Any, net: Any, sock: Any, *args: Any, **options: Any) -> Any:
        try:
            return await connect(self, net, sock, *args, **options)
        except BaseException:
            sock.close()
            raise

    def bootstrap_or_close(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return bootstrap(self, *args, **options)
        except BaseException:
            self.close()
            self._net.close()
            raise

    KafkaNetSocket.sock_connect, KafkaConnectionManager.bootstrap = sock_connect, bootstrap_or_close
