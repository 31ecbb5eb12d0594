"""Every operation of the four services with what fits its description and with what does not, drawn by schemathesis.

`PEYVAND_FUZZ` says how many requests are made, about.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.schemas import APIOperation
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peyvand.api_client import sign_in
from peyvand.local_cluster.topology import SERVICES
from programme.reference import job_fields
from tests.support.system import RunningSystem, open_round, started

Operation = APIOperation[Any, Any, Any, Any]
REQUESTS = int(os.environ.get("PEYVAND_FUZZ", "1000"))
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
PROMISES = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
KNOWN = {"round_id": "1404", "province": "IR-20"}  # half of the requests are about what is there
WIDEST = ("manager", "ministry_admin", "operator")  # who may ask the most
PLACES = {each: "" if each == "reporting" else f"/{each}" for each in SERVICES}  # of their descriptions
ENDLESS = "text/event-stream"
PATIENCE = 30  # seconds for an answer


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """A country that is up, with an open round."""
    with started(tmp_path_factory.mktemp("fuzz")) as system:
        now = datetime.now(UTC)
        window = now - timedelta(days=1), now + timedelta(days=30)
        open_round(system.url, KNOWN["round_id"], *window, sorted(job_fields()))
        yield system


def promises() -> list[Any]:
    """What every answer is held to."""
    load_all_checks()
    return list(CHECKS.get_by_names(list(PROMISES)))


def operations(schema: Any) -> list[Operation]:
    """All but what never ends."""
    found = [each.ok() for each in schema.get_all_operations()]
    return [each for each in found if ENDLESS not in str(each.definition.raw["responses"].get("200", ""))]


def attack(
    operation: APIOperation[Any, Any, Any, Any], requests: int, **options: Any
) -> tuple[Counter[int], list[str]]:
    """Statuses that came, and each promise that was broken, with the request that broke it."""
    came, broken = Counter[int](), list[str]()
    known = {name: KNOWN[name] for name in KNOWN if f"{{{name}}}" in operation.path}
    for mode in MODES:
        strategies = [operation.as_strategy(generation_mode=mode)]
        if known:
            strategies.append(operation.as_strategy(generation_mode=mode, path_parameters=known))

        @settings(
            max_examples=max(1, requests // len(MODES)),
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(strategies))
        def ask(case: Any) -> None:
            response = case.call(timeout=PATIENCE, **options)
            came[response.status_code] += 1
            try:
                case.validate_response(response, checks=promises())
            except (Exception, BaseExceptionGroup) as e:
                broken.append(f"{operation.label}: {_told(e)}")

        with warnings.catch_warnings(), suppress(Unsatisfiable):  # nothing can be wrong where nothing is asked for
            warnings.simplefilter("ignore")  # of what it cannot generate, which is counted by what came
            ask()
    return came, broken


def _told(e: BaseException) -> str:
    each = e.exceptions if isinstance(e, BaseExceptionGroup) else (e,)
    return " | ".join(" ".join(str(one).split())[:300] for one in each)


@pytest.mark.server
def test_no_request_breaks_a_promise(system: RunningSystem) -> None:
    """Documented statuses, media types and bodies; never a 5xx; and every worker goes on."""
    schemas = {
        service: schemathesis.openapi.from_url(f"{system.url}{place}/openapi.json") for service, place in PLACES.items()
    }
    every = [(service, each) for service, schema in schemas.items() for each in operations(schema)]
    came, broken = Counter[int](), list[str]()
    for service, operation in every:
        roles = operation.definition.raw.get("x-peyvand-roles", ())
        headers = {}
        if role := next((each for each in WIDEST if each in roles), ""):
            province = "IR-20" if role == "manager" else ""
            token = sign_in(system.url, role, province=province, sub=f"fuzz-{service}")
            headers["Authorization"] = f"Bearer {token}"
        assert bool(headers) == bool(roles), operation.label
        statuses, faults = attack(operation, REQUESTS // len(every), headers=headers)
        came, broken = came + statuses, broken + faults
    print(sorted(came.items()))
    assert not broken, f"{len(broken)} broken:\n" + "\n".join(dict.fromkeys(broken))
    assert sum(came.values()) > REQUESTS / 2 and came[200] and came[422] and came[404]
    assert not {name for name, each in system.state.processes.items() if each.starts > 1}


def test_a_broken_promise_is_noticed() -> None:
    """The canary: an operation that fails, and one that answers what it never described."""

    async def fails(request: Request) -> Response:
        return JSONResponse({"n": 1}, 500)

    async def surprises(request: Request) -> Response:
        return JSONResponse({"n": "one"})

    body = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    described = {"responses": {"200": {"description": "", "content": {"application/json": {"schema": body}}}}}
    told = {
        "openapi": "3.1.0",
        "info": {"title": "canary", "version": "1"},
        "paths": {"/fails": {"get": described}, "/surprises": {"get": described}},
    }

    async def openapi(request: Request) -> Response:
        return JSONResponse(told)

    routes = [Route("/fails", fails), Route("/surprises", surprises), Route("/openapi.json", openapi)]
    schema = schemathesis.openapi.from_asgi("/openapi.json", Starlette(routes=routes))
    for operation in operations(schema):
        assert attack(operation, 2)[1], operation.label
