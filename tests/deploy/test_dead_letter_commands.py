"""`peyvand dead-letters`: letters found by fingerprint, subject or id, dry runs before actions, exit codes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from base.settings import Settings
from kernel.batch import process
from kernel.leases import MemoryLeases
from kernel.service import Runtime
from kernel.stores.memory import MemoryStore
from observability.health import ReadinessReason
from peyvand.api_client import ApiResponse
from peyvand.commands import dead_letters, main
from peyvand.commands.dead_letters import api_path
from peyvand.local_cluster.topology import SERVICES
from tests.support.faulty_events import faulty, park_three, rules_with_bug
from tests.support.small_api import HERE
from tests.support.small_services import ReportingRules, Tallies, noon
from tests.support.tokens import Issuer
from web.admin import dead_letters as dead_letters_api
from web.app import create_app

pytestmark = pytest.mark.usefixtures("accepted_short_names")

Run = Callable[..., tuple[int, str]]


class Apis:
    """The APIs of four services over memory stores; stands in for the command's client."""

    def __init__(self, issuer: Issuer) -> None:
        self.tallies = Tallies()
        rules: dict[str, Any] = {"applicant": ReportingRules}
        self.stores = {each: MemoryStore(each, dict(rules)) for each in SERVICES}
        self.apps: dict[str, Any] = {}
        self.headers = issuer.bearer("operator", id="o1")
        self.actions: list[str] = []

        async def ready() -> list[ReadinessReason]:
            return []

        for service, store in self.stores.items():
            settings = Settings(
                service=service, environment="development", kafka="-", mongo="-", database="-",  # type: ignore[arg-type]
                jwks=issuer.jwks, issuer=issuer.name,
            )  # fmt: skip
            prefix = api_path(service).removesuffix("/v1/dead-letters")
            app = create_app(
                settings, "T", lifespan=None, ready=ready, prefix=prefix, routers=[dead_letters_api.router]
            )
            app.state.runtime = Runtime(
                settings=settings, store=store, leases=MemoryLeases(), clock=noon, projection=self.tallies.move
            )
            self.apps[prefix] = app

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON at this path."""
        response = self._request("GET", path, params={k: v for k, v in query.items() if v not in (None, "")})
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: bytes, content_type: str, **_: Any) -> ApiResponse:
        """Send a body; record the path unless it is a dry run."""
        response = self._request("POST", path, content=body, headers={"Content-Type": content_type})
        assert response.status_code == 200, response.text
        if b'"dry_run": false' in body:
            self.actions.append(path)
        return ApiResponse(response.status_code, {}, response.content)

    def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.apps[path.partition("/v1/")[0]])
            async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=self.headers) as client:
                return await client.request(method, path, **options)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, send()).result()


@pytest.fixture
async def apis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apis:
    """Return the four APIs; reporting has three dead letters, each with an event behind it."""
    monkeypatch.delenv("PEYVAND_TOKEN", raising=False)
    apis = Apis(Issuer(tmp_path))
    await park_three(apis.stores["reporting"], apis.tallies)
    monkeypatch.setattr(dead_letters, "_operator", lambda *_: apis)
    return apis


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a verb and returns its exit code and output."""

    def ran(*arguments: str) -> tuple[int, str]:
        code = main.main(["dead-letters", *arguments])
        output = capsys.readouterr()
        return code, output.out + output.err

    return ran


async def test_the_group_its_letters_and_the_next_command_are_shown(apis: Apis, run: Run) -> None:
    code, output = run("list")
    assert code == 1 and "reporting" in output and "ValueError: a bug in ReportingRules.evolve:" in output
    fingerprint = next(word for word in output.splitlines()[1].split() if len(word) == 12)
    code, output = run("show", fingerprint)
    assert code == 0 and f"peyvand dead-letters retry {fingerprint} --dry-run" in output
    assert '"subject": "a"' in output and "1 behind" in output
    for selector in ("b", "registration/b/1"):
        code, output = run("show", selector)
        assert code == 0 and "registration/b/1" in output and "registration/a/1" not in output
    code, output = run("show", "unknown")
    assert code == 1 and "peyvand dead-letters list" in output


async def test_only_letters_that_would_be_handled_are_retried(apis: Apis, run: Run) -> None:
    code, output = run("retry", "a")
    assert code == 1 and "would still meet a fault" in output and not apis.actions
    apis.stores["reporting"].rules = {"applicant": rules_with_bug()}
    code, output = run("retry", "a", "--dry-run")
    assert code == 0 and "2 events would be handled" in output and not apis.actions
    fingerprint = run("list", "--json")[1].split('"fingerprint":"')[1][:12]
    code, output = run("retry", fingerprint)
    assert code == 0 and "3 letters retried, 6 events handled" in output
    assert apis.actions == [api_path("reporting") + "/retry"]
    assert run("list") == (0, "there are no dead letters\n")


async def test_a_discard_needs_a_reason_and_a_name(apis: Apis, run: Run) -> None:
    assert run("discard", "a")[0] == 2
    code, output = run("discard", "a", "--reason", "a test's")
    assert code == 1 and "--who" in output and not apis.actions
    code, output = run("discard", "a", "--reason", "a test's", "--who", "o1")
    assert "1 letters discarded" in output
    (discarded,) = apis.stores["reporting"].records["a"].discarded
    assert (discarded.reason, discarded.who) == ("a test's", "operator:o1")


async def test_an_id_selects_one_letter_of_its_service(apis: Apis, run: Run) -> None:
    await process(apis.stores["market"], [faulty("m", 1)], {}, noon)
    assert run("show", "registration/m/1", "--service", "market")[0] == 0
    assert run("show", "registration/c/1", "--service", "market")[0] == 1
    assert run("show", "c", "--service", "unknown")[0] == 1
