"""Reconciliation: every consumer compares what it has handled with what its producers hold, and repairs what is lost.

Nothing here loads a Kafka client but `loop`, the loop of the worker.
"""
