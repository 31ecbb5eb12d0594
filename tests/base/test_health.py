"""The health endpoints: alive, ready or why not, metrics."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from observability.health import PATHS, ReadinessReason, health, health_app


def ready_for(*reasons: ReadinessReason) -> Any:
    """Return a readiness check with these reasons."""

    async def ready() -> Sequence[ReadinessReason]:
        return reasons

    return ready


async def test_process_is_alive_whether_ready_or_not() -> None:
    status, media_type, body = await health("/healthz", "tests", ready_for(ReadinessReason("stopping", "stopping")))

    assert (status, media_type) == (200, b"application/json")
    assert json.loads(body)["service"] == "tests" and json.loads(body)["version"]


async def test_ready_without_reasons() -> None:
    assert await health("/readyz", "tests", ready_for()) == (
        200,
        b"application/json",
        b'{"ready":true,"reasons":[]}',
    )


async def test_reasons_have_code_text_and_the_partition_they_are_about() -> None:
    reasons = (
        ReadinessReason("not_assigned", "no partitions are assigned yet"),
        ReadinessReason("log_broken", "the log begins at 7", topic="peyvand.market", partition=0),
    )
    status, _, body = await health("/readyz", "tests", ready_for(*reasons))

    assert status == 503
    assert json.loads(body) == {
        "ready": False,
        "reasons": [
            {"code": "not_assigned", "text": "no partitions are assigned yet"},
            {"code": "log_broken", "text": "the log begins at 7", "topic": "peyvand.market", "partition": 0},
        ],
    }


async def test_failing_check_is_a_reason() -> None:
    async def fails() -> Sequence[ReadinessReason]:
        raise ValueError("the secret of 9990000006")

    status, _, body = await health("/readyz", "tests", fails)

    assert status == 503 and b"secret" not in body
    assert json.loads(body)["reasons"] == [
        {"code": "check_failed", "text": "the readiness check failed: ValueError"},
    ]


async def test_metrics_are_those_of_the_process() -> None:
    status, media_type, body = await health("/metrics", "tests", ready_for())

    assert (status, media_type) == (200, b"text/plain; version=0.0.4; charset=utf-8")
    assert b"python_info" in body


@pytest.mark.parametrize("path", ["/", "/healthz/", "/readyz/x", "/docs"])
async def test_other_path_is_a_404_that_names_the_paths(path: str) -> None:
    status, _, body = await health(path, "tests", ready_for())

    assert status == 404 and json.loads(body) == {"paths": list(PATHS)}


async def test_application_serves_the_three_paths_and_forbids_caching() -> None:
    transport = httpx.ASGITransport(health_app("tests", ready_for(ReadinessReason("stopping", "stopping"))))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        statuses = [(await client.get(path)).status_code for path in (*PATHS, "/other")]
        headers = (await client.get("/readyz")).headers

    assert statuses == [200, 503, 200, 404]
    assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
