"""Metrics of reporting alone: what each means, and what to do when it moves."""

from prometheus_client import Gauge

PROVINCE_LAST_EVENT = Gauge(
    "peyvand_province_last_event_timestamp_seconds",
    "When the newest event was recorded that moved a province's figures, of those this worker has counted. Two days "
    "ago: the province has sent nothing; ask its manager before its rank is questioned.",
    ["province"],
)
