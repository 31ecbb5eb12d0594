"""`peyvand dead-letters`: letters found by fingerprint, subject or id, dry runs before actions, exit codes."""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from base.kafka_access import KafkaAccess
from base.settings import Settings
from kernel.batch import process
from kernel.leases import MemoryLeases
from kernel.service import Runtime
from kernel.stores.memory import MemoryStore
from observability.health import ReadinessReason
from peyvand.api_client import ApiResponse
from peyvand.commands import dead_letters, events, main
from peyvand.commands.dead_letters import api_path
from peyvand.commands.events import LogEntry, cloud_event
from peyvand.endpoints import Endpoints
from peyvand.local_cluster.topology import SERVICES
from tests.support.faulty_events import faulty, park_three, rules_with_bug
from tests.support.messages import message, unknown
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


async def test_no_width_cuts_what_the_next_command_needs(apis: Apis, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    await process(apis.stores["market"], [unknown(1, "q" * 36)], {}, noon)
    _, listed = run("list", "--json")
    fingerprints = {each["fingerprint"] for each in json.loads(listed)}
    assert len(fingerprints) == 2
    for terminal in (False, True):
        monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)  # noqa: B023
        for columns in ("40", "80", "120", "200"):
            monkeypatch.setenv("COLUMNS", columns)
            words = set(run("list")[1].split())
            assert fingerprints <= words, (terminal, columns)
            assert {"fault", "unknown_type", "reporting", "market"} <= words, (terminal, columns)


async def test_the_reason_is_shown_where_there_is_no_cause(apis: Apis, run: Run) -> None:
    await process(apis.stores["market"], [unknown(1, "q")], {}, noon)
    shown = run("show", "q")[1]
    assert "reason: unknown_type" in shown and "cause: -" in shown
    assert "reason: fault" in run("show", "a")[1]


async def test_ids_behind_a_letter_are_shown_and_wait_for_their_turn(apis: Apis, run: Run) -> None:
    await process(
        apis.stores["market"],
        [unknown(1, "q"), *(message("registration", n, subject="q") for n in range(2, 9))],
        {},
        noon,
    )
    shown = run("show", "q", "--service", "market")[1]
    assert ", ".join(f"registration/q/{n}" for n in range(2, 7)) + " and 2 more" in shown
    code, output = run("discard", "registration/q/3", "--service", "market", "--reason", "a test's", "--who", "o1")
    assert code == 1 and "registration/q/3 waits behind registration/q/1" in output and not apis.actions


async def test_a_parked_event_is_shown_as_the_log_has_it(apis: Apis, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    parked = unknown(1, "q")
    await process(apis.stores["market"], [parked], {}, noon)
    assert "peyvand events show registration/q/1" in run("show", "q")[1], "without Kafka: how to see it"
    entries = {str(parked.position): LogEntry("peyvand.registration", 0, 1, parked.raw, parked.envelope)}

    class Log:
        def __init__(self, *_: object) -> None:
            self.at, self.close = entries.get, lambda: None

    monkeypatch.setattr(events, "EventLog", Log)
    monkeypatch.setattr(dead_letters, "find_endpoints", lambda url: Endpoints("-", KafkaAccess("-")))
    shown = run("show", "q")[1]
    assert json.dumps(cloud_event(entries[str(parked.position)])["event"]) in shown
    other = message("registration", 2)  # of a recreated topic
    entries[str(parked.position)] = LogEntry("peyvand.registration", 0, 1, other.raw, other.envelope)
    assert "event: not shown" in run("show", "q")[1]


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
