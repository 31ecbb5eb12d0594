"""The OpenAPI document: complete, and true to the responses."""

import json

import httpx
import pytest
from jsonschema import Draft202012Validator

from programme.messages import MESSAGES

THINGS = "/t/v1/things"


async def test_document_has_security_roles_problems_and_raw_bodies(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/t/openapi.json")).json()
    create, things = schema["paths"][THINGS]["post"], schema["paths"][THINGS]["get"]

    assert create["security"] == [{"bearer": []}, {"cookie": []}] and create["x-peyvand-roles"] == [
        "jahad_national",
        "manager",
        "ministry_admin",
        "registrar",
    ]
    assert create["x-peyvand-action"] == {"action": "bulk_import", "access": "W"}
    assert things["security"] == [] and not {"x-peyvand-roles", "x-peyvand-action"} & set(things)
    of_every_operation = {"400", "414", "429", "500", "502", "503", "504"}
    of_a_body = {"408", "413", "415", "422"}
    assert set(create["responses"]) == {"201", "401", "403", "409"} | of_every_operation | of_a_body
    assert set(schema["paths"]["/t/v1/raise/{which}"]["get"]["responses"]) == {"200", "404", "422"} | of_every_operation
    assert "text/csv" in schema["paths"]["/t/v1/imports"]["post"]["requestBody"]["content"]
    assert "/t/page" not in schema["paths"] and "/healthz" not in schema["paths"]
    assert [each["name"] for each in create["parameters"]] == ["Idempotency-Key"]
    assert set(schema["components"]["securitySchemes"]) == {"bearer", "cookie"}


async def test_every_documented_problem_exists(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/t/openapi.json")).json()
    assert "HTTPValidationError" not in json.dumps(schema)

    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                    assert content["example"]["code"] in MESSAGES and content["example"]["status"] == int(status)
                    assert "…" not in response["description"]


async def test_problems_match_their_documented_schema(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/t/openapi.json")).json()
    problem = Draft202012Validator(schema["components"]["schemas"]["Problem"])
    responses = [await client.get(f"/t/v1/raise/{which}") for which in ("invalid", "missing", "bug", "transient")]

    for response in responses:
        problem.validate(response.json())
    with pytest.raises(Exception, match="required"):
        problem.validate({})
