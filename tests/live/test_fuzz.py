"""Fuzzing: every operation of the four services with valid and invalid requests drawn by schemathesis.

`PEYVAND_FUZZ` is the approximate number of requests.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

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
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXISTING = {"round_id": "1404", "province": "IR-20"}  # path parameters of half of the requests
ROLES = ("manager", "ministry_admin", "operator")  # the roles with the most permissions
PREFIXES = {each: "" if each == "reporting" else f"/{each}" for each in SERVICES}  # of their OpenAPI documents
STREAM = "text/event-stream"
TIMEOUT = 60  # seconds for a response


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """Start a platform with an open round."""
    with started(tmp_path_factory.mktemp("fuzz")) as system:
        now = datetime.now(UTC)
        window = now - timedelta(days=1), now + timedelta(days=30)
        open_round(system.url, EXISTING["round_id"], *window, sorted(job_fields()))
        yield system


def checks() -> list[Any]:
    """Return the checks of every response."""
    load_all_checks()
    return list(CHECKS.get_by_names(list(CHECKED)))


def operations(schema: Any) -> list[Operation]:
    """Return all operations but endless streams."""
    every = [each.ok() for each in schema.get_all_operations()]
    return [each for each in every if STREAM not in str(each.definition.raw["responses"].get("200", ""))]


def fuzz(operation: APIOperation[Any, Any, Any, Any], requests: int, **options: Any) -> tuple[Counter[int], list[str]]:
    """Return the counts of statuses, and each failed check with its request."""
    statuses, failures = Counter[int](), list[str]()
    known = {name: EXISTING[name] for name in EXISTING if f"{{{name}}}" in operation.path}
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
        @given(case=st.one_of(strategies).filter(_has_its_path))
        def send(case: Any) -> None:
            response = case.call(timeout=TIMEOUT, **options)
            statuses[response.status_code] += 1
            try:
                case.validate_response(response, checks=checks())
            except (Exception, BaseExceptionGroup) as e:
                failures.append(f"{operation.label}: {_message(e)}")

        with warnings.catch_warnings(), suppress(Unsatisfiable):  # without parameters nothing can be invalid
            warnings.simplefilter("ignore")  # about cases that it cannot generate
            send()
    return statuses, failures


def _has_its_path(case: Any) -> bool:
    """Return whether the client asks for the path of the operation: it removes `.` and `..`, as RFC 3986 demands."""
    values = (case.path_parameters or {}).values()
    return not any(part in (".", "..") for each in values for part in unquote(str(each)).split("/"))


def _message(e: BaseException) -> str:
    each = e.exceptions if isinstance(e, BaseExceptionGroup) else (e,)
    return " | ".join(" ".join(str(one).split())[:300] for one in each)


@pytest.mark.server
def test_every_response_passes_the_checks(system: RunningSystem) -> None:
    """Documented statuses, media types and bodies; never a 5xx; and no process is restarted."""
    schemas = {
        service: schemathesis.openapi.from_url(f"{system.url}{prefix}/openapi.json")
        for service, prefix in PREFIXES.items()
    }
    every = [(service, each) for service, schema in schemas.items() for each in operations(schema)]
    statuses, failures = Counter[int](), list[str]()
    for service, operation in every:
        roles = operation.definition.raw.get("x-peyvand-roles", ())
        headers = {}
        if role := next((each for each in ROLES if each in roles), ""):
            province = "IR-20" if role == "manager" else ""
            token = sign_in(system.url, role, province=province, sub=f"fuzz-{service}")
            headers["Authorization"] = f"Bearer {token}"
        assert bool(headers) == bool(roles), operation.label
        counts, failed = fuzz(operation, REQUESTS // len(every), headers=headers)
        statuses, failures = statuses + counts, failures + failed
    print(sorted(statuses.items()))
    assert not failures, f"{len(failures)} failed:\n" + "\n".join(dict.fromkeys(failures))
    assert sum(statuses.values()) > REQUESTS / 2 and statuses[200] and statuses[422] and statuses[404]
    assert not {name for name, each in system.state.processes.items() if each.starts > 1}


def test_a_wrong_response_is_detected() -> None:
    """The canary: an operation that fails, and one whose body does not match its description."""

    async def fails(request: Request) -> Response:
        return JSONResponse({"n": 1}, 500)

    async def mismatches(request: Request) -> Response:
        return JSONResponse({"n": "one"})

    body = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    description = {"responses": {"200": {"description": "", "content": {"application/json": {"schema": body}}}}}
    document = {
        "openapi": "3.1.0",
        "info": {"title": "canary", "version": "1"},
        "paths": {"/fails": {"get": description}, "/mismatches": {"get": description}},
    }

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    routes = [Route("/fails", fails), Route("/mismatches", mismatches), Route("/openapi.json", openapi)]
    schema = schemathesis.openapi.from_asgi("/openapi.json", Starlette(routes=routes))
    for operation in operations(schema):
        assert fuzz(operation, 2)[1], operation.label
