"""Tokens with which a service of the platform asks another one: from the development issuer, for one service."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from peyvand.dev_issuer.issuer import Issuer
from peyvand.gateway.settings import GatewaySettings
from security.auth import CONSUMER, Unauthenticated, Verifier

FORM = {
    "grant_type": "client_credentials",
    "client_id": "reporting",
    "client_secret": "secret of reporting",
    "audience": "peyvand-registration",
}


def issuer(folder: Path) -> Issuer:
    address = "http://127.0.0.1:8080"
    return Issuer(
        GatewaySettings(
            environment="development",
            public_url=address,
            issuer=f"{address}/issuer",
            jwks=folder / "jwks.json",
            issuer_key=folder / "issuer.jwk",
            clients={each: SecretStr(f"secret of {each}") for each in ("registration", "reporting")},
            upstream_registration="http://a",
            upstream_screening="http://b",
            upstream_market="http://c",
            upstream_reporting="http://d",
        )
    )


async def test_a_service_gets_tokens_for_one_other_service_with_its_secret(tmp_path: Path) -> None:
    issuing = issuer(tmp_path)
    app = web.Application()
    app.add_subapp("/issuer", issuing.application())
    async with TestClient(TestServer(app)) as client:
        answer = await client.post("/issuer/token", data=FORM)
        token = (await answer.json())["access_token"]
        for changed, status, code in (
            ({"client_secret": "secret of registration"}, 401, "invalid_client"),
            ({"client_secret": ""}, 401, "invalid_client"),
            ({"client_id": "operations"}, 401, "invalid_client"),
            ({"client_id": "operations", "client_secret": ""}, 401, "invalid_client"),
            ({"audience": "peyvand"}, 400, "invalid_target"),
            ({"audience": "peyvand-market"}, 400, "invalid_target"),
        ):
            answer = await client.post("/issuer/token", data={**FORM, **changed})
            assert (answer.status, (await answer.json())["error"]) == (status, code)
        chosen = await client.post("/issuer/token", data={"grant_type": "client_credentials", "role": CONSUMER})
        assert chosen.status == 400, "no one chooses this role"

    def verifier(service: str) -> Verifier:
        return Verifier(issuing.settings.issuer, "peyvand", tmp_path / "jwks.json", service=service)

    principal = verifier("registration").verify(token)
    assert principal.id == "reporting" and principal.roles == {CONSUMER} and not principal.scope
    for other in ("screening", "reporting", ""):
        with pytest.raises(Unauthenticated):
            verifier(other).verify(token)
