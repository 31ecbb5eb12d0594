"""`peyvand apply` on three brokers: three replicas of each partition, two of which must have an event."""

from contracts.topics import TOPICS
from peyvand.commands.apply import replicas_to_add, settings_of


def test_two_replicas_must_have_an_event_where_there_are_three_brokers() -> None:
    assert settings_of(TOPICS[0], [1, 2, 3]) == {**dict(TOPICS[0].settings), "min.insync.replicas": "2"}
    assert settings_of(TOPICS[0], [1, 2]) == dict(TOPICS[0].settings), "one broker that is away would stop everything"


def test_replicas_are_added_to_those_that_exist_and_spread_over_the_brokers() -> None:
    partitions = [{"partition_index": n, "replica_nodes": [1]} for n in range(4)]
    assert replicas_to_add(partitions, [1, 2, 3, 4]) == {0: [1, 2, 3], 1: [1, 2, 3], 2: [1, 3, 4], 3: [1, 4, 2]}
    assert replicas_to_add(partitions, [1]) == {}
    complete = [{"partition_index": 0, "replica_nodes": [3, 1, 2]}]
    assert replicas_to_add(complete, [1, 2, 3]) == {}
