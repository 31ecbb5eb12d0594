"""The operator's verbs for dead letters: found by whatever name, rehearsed before they are done, ended honestly."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from base.settings import Settings
from kernel.stores.memory import MemoryStore
from peyvand.api_client import Answer
from peyvand.commands import main, repair
from peyvand.commands.backup import Manifest
from peyvand.commands.dead_letters import door
from peyvand.local_cluster.topology import SERVICES
from tests.recovery.test_dead_letters import Mended, message, three_parked
from tests.support.small_api import HERE
from tests.support.small_services import Counting, Tallies, noon
from tests.support.tokens import Issuer
from web.admin import dead_letters
from web.app import create_app


class RunningSystem:
    """Four doors; behind reporting's there are dead letters."""

    def __init__(self, issuer: Issuer) -> None:
        self.tallies = Tallies()
        rules: dict[str, Any] = {"applicant": Counting}
        self.stores = {each: MemoryStore(each, dict(rules)) for each in SERVICES}
        self.apps: dict[str, Any] = {}
        self.headers = issuer.bearer("operator", id="o1")
        self.acts: list[str] = []

        async def ready() -> list[str]:
            return []

        for service, store in self.stores.items():
            settings = Settings(
                service=service, environment="development", kafka="-", mongo="-", database="-",  # type: ignore[arg-type]
                jwks=issuer.jwks, issuer=issuer.name,
            )  # fmt: skip
            prefix = door(service).removesuffix("/v1/dead-letters")
            routers = [dead_letters.router(store, noon, self.tallies.move)]
            self.apps[prefix] = create_app(settings, "T", lifespan=None, ready=ready, prefix=prefix, routers=routers)

    def get(self, path: str, **query: Any) -> Any:
        """As the command's client does."""
        told = {name: value for name, value in query.items() if value not in (None, "")}
        answer = self._ask("GET", path, params=told)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: bytes, content_type: str, **_: Any) -> Answer:
        """As the command's client does."""
        answer = self._ask("POST", path, content=body, headers={"Content-Type": content_type})
        assert answer.status_code == 200, answer.text
        if b'"dry_run": false' in body:
            self.acts.append(path)
        return Answer(answer.status_code, {}, answer.content)

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self.apps[path.partition("/v1/")[0]])
            async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=self.headers) as client:
                return await client.request(method, path, **more)

        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(asyncio.run, asked()).result()


@pytest.fixture
async def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunningSystem:
    monkeypatch.delenv("PEYVAND_TOKEN", raising=False)
    system = RunningSystem(Issuer(tmp_path))
    await three_parked(system.stores["reporting"], system.tallies)
    monkeypatch.setattr(repair, "_operator", lambda *_: system)
    return system


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    def ran(*arguments: str) -> tuple[int, str]:
        code = main.main(["dead-letters", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    yield ran


async def test_a_person_finds_the_group_its_letters_and_the_command(system: RunningSystem, run: Any) -> None:
    code, said = run("list")
    assert code == 1 and "reporting" in said and "ValueError('a bug') in Counting.evolve:" in said
    fingerprint = next(word for word in said.splitlines()[1].split() if len(word) == 12)
    code, said = run("show", fingerprint)
    assert code == 0 and f"peyvand dead-letters retry {fingerprint} --dry-run" in said
    assert '"subject": "a"' in said and "1 behind" in said
    for which in ("b", "registration/b/1"):
        code, said = run("show", which)
        assert code == 0 and "registration/b/1" in said and "registration/a/1" not in said
    code, said = run("show", "nobody")
    assert code == 1 and "peyvand dead-letters list" in said


async def test_what_would_not_get_on_is_not_touched_and_what_would_is_done(system: RunningSystem, run: Any) -> None:
    code, said = run("retry", "a")
    assert code == 1 and "would meet a fault still" in said and not system.acts
    system.stores["reporting"].rules = {"applicant": Mended}  # type: ignore[dict-item]
    code, said = run("retry", "a", "--dry-run")
    assert code == 0 and "2 events would be handled" in said and not system.acts
    fingerprint = run("list", "--json")[1].split('"fingerprint":"')[1][:12]
    code, said = run("retry", fingerprint)
    assert code == 0 and "3 letters retried, 6 events handled" in said
    assert system.acts == [door("reporting") + "/retry"]
    assert run("list") == (0, "nothing waits for a person\n")


async def test_giving_up_needs_a_reason_and_a_name(system: RunningSystem, run: Any) -> None:
    assert run("discard", "a")[0] == 2
    code, said = run("discard", "a", "--reason", "a test's")
    assert code == 1 and "--who" in said and not system.acts
    code, said = run("discard", "a", "--reason", "a test's", "--who", "o1")
    assert "1 letters discarded" in said
    (fact,) = system.stores["reporting"].kept["a"].discarded
    assert (fact.reason, fact.who) == ("a test's", "operator:o1")


async def test_one_letter_of_many_subjects_is_one_letter(system: RunningSystem, run: Any) -> None:
    from kernel.batch import process

    await process(system.stores["market"], [message("ledger:1404/IR-20", 1)], {}, noon)
    assert run("show", "registration/c/1", "--service", "market")[0] == 1
    assert run("show", "c", "--service", "nobody")[0] == 1


def test_a_backup_says_where_the_keys_are_and_that_they_belong_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from datetime import UTC, datetime

    asked: list[dict[str, str]] = []

    def kept(url: str, folder: Path, topics: dict[str, str], *_: Any, **__: Any) -> Manifest:
        asked.append(topics)
        return Manifest(1, "0", datetime.now(UTC), {})

    monkeypatch.setattr("peyvand.commands.backup.backup", kept)
    monkeypatch.setattr("peyvand.commands.status.log_ends", lambda _: {})
    for name in ("PUBLIC_URL", "KAFKA", "MONGO"):
        monkeypatch.setenv(f"PEYVAND_{name}", "http://127.0.0.1:9")
    assert main.main(["backup", str(tmp_path / "b")]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "b" / "registration_keys") in said and "PEYVAND_MASTER_KEY" in said
    assert asked[0] == {
        "registration": "peyvand.registration",
        "screening": "peyvand.screening",
        "market": "peyvand.market",
        "reporting": "",
    } and asked[1] == {"registration_keys": ""}
    assert main.main(["restore", str(tmp_path / "none")]) == 1
    assert "--without-keys" in capsys.readouterr().err
