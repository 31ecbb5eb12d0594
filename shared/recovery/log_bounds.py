"""Where the log begins and ends, for what has to read all of it."""

from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from kernel.kafka.log_reader import LogReader


async def log_bounds(reader: LogReader, tps: Collection[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
    """Return the first offset that the log has of each partition, and that of its next event.

    Raise KafkaError, also if the leader of any of them does not answer.
    """
    begins, ends = await reader.begins(tps), await reader.ends(tps)
    if silent := [f"{tp.topic}/{tp.partition}" for tp in tps if tp not in begins or tp not in ends]:
        raise KafkaTimeoutError(f"no leader of {', '.join(silent)} answers")
    return {tp: (begins[tp], ends[tp]) for tp in tps}
