"""Whether Kafka accepts a client. Its clients do not report a refusal: they retry for half a minute and time out."""

import asyncio
import ssl
from typing import TYPE_CHECKING

import structlog
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed

from base.kafka_access import KafkaAccess

if TYPE_CHECKING:
    from kernel.roles.worker import Worker

TIMEOUT = 5_000  # milliseconds
PAUSE = 5.0  # seconds until a refused worker tries again

log = structlog.get_logger(__name__)


async def refusal(kafka: KafkaAccess) -> str:
    """Return why Kafka and this client do not accept each other; empty if they do, or no broker answers."""
    try:
        return await _refusal(kafka)
    finally:
        await asyncio.sleep(0.1)  # aiokafka closes a connection without waiting, and a command ends its loop now


async def _refusal(kafka: KafkaAccess) -> str:
    options = kafka.options()
    for server in options.pop("bootstrap_servers").split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            connection = await create_conn(host, int(port), request_timeout_ms=TIMEOUT, **options)
        except SaslAuthenticationFailed:
            return (
                f"Kafka at {server} refuses the user {kafka.user} or its password: `peyvand apply` creates users and "
                "sets their passwords"
            )
        except ssl.SSLError as e:
            return f"the certificate of Kafka at {server} is refused ({e.reason}): does KAFKA_CA name its authority?"
        except (KafkaError, OSError, TimeoutError):
            continue
        connection.close()
        return ""
    return ""


async def authenticate_before_start(worker: "Worker", stop: asyncio.Event) -> None:
    """A gate of the worker: return when Kafka accepts its user or does not answer, or `stop` is set."""
    while (why := await refusal(worker.kafka)) and not stop.is_set():
        worker.incomplete = why
        log.error(
            "worker refused by Kafka: correct its user, password or authority; readyz names which",
            service=worker.service,
        )
        try:
            await asyncio.wait_for(stop.wait(), PAUSE)
        except TimeoutError:
            continue
    worker.incomplete = ""
