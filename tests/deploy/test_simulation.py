"""A simulated round waits as long as there is progress, and an interrupted one goes on where it stopped."""

import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from contracts.codes import CONDITIONS
from peyvand.simulation import plan
from peyvand.simulation.quiescence import NotQuiescent, QuiescenceProbe
from peyvand.simulation.run import Progress
from peyvand.simulation.scenario import Round

NOW = datetime(2025, 10, 8, tzinfo=UTC)


class Probe(QuiescenceProbe):
    """A probe of a platform that is busy for a number of questions."""

    def __init__(self, busy: int, progress: Iterator[int]) -> None:
        self.busy, self.progress = busy, progress

    async def activity(self, now: datetime) -> dict[str, Any]:
        """Return that something is under way, the given number of times."""
        self.busy -= 1
        return {"behind": self.busy} if self.busy >= 0 else {}

    async def _progress(self) -> tuple[int, ...]:
        return (next(self.progress), 0)


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look at the time take a second, and no waiting take any."""
    seconds = itertools.count()

    async def sleep(_: float) -> None: ...

    monkeypatch.setattr("peyvand.simulation.quiescence.monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr("peyvand.simulation.quiescence.asyncio.sleep", sleep)


async def test_the_round_waits_as_long_as_there_is_progress() -> None:
    probe = Probe(busy=10_000, progress=itertools.count())
    await probe.wait(NOW, stalled_after=5)
    assert probe.busy < 0


@pytest.mark.parametrize("progress", [itertools.repeat(7), itertools.cycle([1, 2])], ids=["none", "to and fro"])
async def test_the_round_gives_up_without_progress(progress: Iterator[int]) -> None:
    with pytest.raises(NotQuiescent, match=r"no progress for 5 s: \{'behind': \d+\}"):
        await Probe(busy=10_000, progress=progress).wait(NOW, stalled_after=5)


class Interrupted(Exception):
    """The simulation was killed."""


class Platform:
    """A platform that carries out a request once per key, and may be cut off after a number of requests."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.bodies: dict[str, Any] = {}
        self.cases: dict[str, str] = {}  # id -> state
        self.left = 1_000_000  # requests

    async def request(
        self, method: str, path: str, role: str, province: str = "", *, json: Any = None, csv: str = "", key: str = ""
    ) -> Any:
        """Carry out a request, or repeat the answer to an earlier one."""
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        assert key, f"{path} has no key: sent again, it would be done twice"
        assert self.bodies.setdefault(key, json or csv) == (json or csv), f"{key} was sent with another body"
        if key not in self.answers:
            self.answers[key] = self._carry_out(path, json, csv)
        return self.answers[key]

    def _carry_out(self, path: str, json: Any, csv: str) -> Any:
        if path.endswith("/import"):
            rows = [f"a{len(self.cases) + n:06}" for n in range(csv.count("\n") - 1)]
            self.cases |= dict.fromkeys(rows, "open")
            return {"refused": [], "applications": [{"id": each} for each in rows]}
        if path.endswith("/applications"):
            application = f"a{len(self.cases):06}"
            self.cases[application] = "open"
            return {"id": application}
        if path.endswith(("/info", "/info/receipt")):
            self.cases[path.split("/")[4]] = "info_requested" if path.endswith("/info") else "open"
        if path.endswith("/decisions"):
            for each in json["decisions"]:
                assert self.cases[each["id"]] == "open"
                answered = each.get("checklist") or {}
                assert each["outcome"] == "rejected" or answered.keys() == CONDITIONS.keys(), "refused: not_eligible"
                self.cases[each["id"]] = "decided"
            return {"items": json["decisions"]}
        return {"items": [], "id": "x"}

    async def items(self, path: str, role: str, province: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the cases in a state; all of them began with the round."""
        for case in [each for each, state in self.cases.items() if path.endswith(f"state={state}")]:
            yield {"id": case, "since": plan.day_of(0).isoformat()}


async def carry_out(platform: Platform, progress: Progress, steps: int = 2) -> Progress:
    """Carry out the first steps as `simulate` does; return the progress that is on disk when it is interrupted."""
    courses = plan.draw(progress.seed, progress.scale, progress.only)
    round_ = Round(platform, courses, progress.seed, progress.memory)  # type: ignore[arg-type]
    saved = msgspec.json.encode(progress)
    try:
        for step in range(progress.steps, steps):
            if not progress.memory.listed:
                await round_.survey(step)
                saved = msgspec.json.encode(msgspec.structs.replace(progress, steps=step))
            await round_.step(step)
            progress.memory.listed = {}
            saved = msgspec.json.encode(msgspec.structs.replace(progress, steps=step + 1))
    except Interrupted:
        pass
    return msgspec.json.decode(saved, type=Progress)


async def test_an_interrupted_step_is_sent_again_as_it_was_first_sent() -> None:
    """Interrupted after its first request, then its second and so on, a round does what it does undisturbed."""
    begun = msgspec.json.encode(Progress(7, 0.1, frozenset({"IR-01"})))
    undisturbed, disturbed = Platform(), Platform()
    done = await carry_out(undisturbed, msgspec.json.decode(begun, type=Progress))
    progress, runs = msgspec.json.decode(begun, type=Progress), 0
    while progress.steps < 2:
        runs += 1
        disturbed.left = runs
        progress = await carry_out(disturbed, progress)
    assert runs > 10
    assert disturbed.bodies.keys() == undisturbed.bodies.keys()
    assert sorted(disturbed.cases.values()) == sorted(undisturbed.cases.values())
    assert progress.memory.acknowledged == done.memory.acknowledged == disturbed.cases.keys()


async def test_who_brings_a_paper_is_approved_with_the_answers_that_an_approval_needs() -> None:
    platform, begun = Platform(), Progress(7, 0.1, frozenset({"IR-01"}))
    done = await carry_out(platform, begun, steps=3)
    asked = done.memory.asked["IR-01"][1]
    brought = [case for case in asked if f"sim-info-receipt-{case}" in platform.bodies]
    assert len(asked) > len(brought) > 0
    assert {platform.cases[case] for case in brought} == {"decided"}
