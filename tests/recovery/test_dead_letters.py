"""Dead letters: are they grouped by what is wrong, tried again in order, given up on record, and counted exactly?"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from base.settings import Settings
from contracts.commands import Refused
from contracts.envelope import Context, Envelope, encode
from contracts.events import ApplicantRegistered, ApplicantWithdrawn, Event
from kernel.batch import process
from kernel.record import LogPosition, Message, Undecodable
from kernel.stores.memory import MemoryStore
from recovery import dead_letters
from recovery.dead_letters import DeadLetters, cause, groups, parts_of
from tests.support.small_api import HERE, said
from tests.support.small_services import NOON, POISON, Counting, Tallies, noon
from tests.support.tokens import Issuer
from web.admin import dead_letters as dead_letters_api
from web.app import create_app

StoreOf = Callable[..., Any]
REGISTERED = ApplicantRegistered(sex="female", age_band="25-34", work_mode="independent", intake_channel="web")


class Mended(Counting):
    """The rules without the bug."""

    @staticmethod
    def evolve(state: Any, envelope: Envelope) -> Any:
        healthy = Context(province=envelope.context.province, field="honey")
        return Counting.evolve(state, Envelope(**{**_fields(envelope), "context": healthy}))


def _fields(envelope: Envelope) -> dict[str, Any]:
    return {name: getattr(envelope, name) for name in Envelope.__struct_fields__}


def message(subject: str, sequence: int, event: Event = REGISTERED, field: str = POISON) -> Message:
    """The n-th event of registration about somebody."""
    envelope = Envelope(
        source="registration",
        subject=subject,
        sequence=sequence,
        time=NOON,
        event=event,
        context=Context(province="IR-20", field=field),
    )
    return Message(envelope, encode(envelope))


async def three_parked(store: Any, tallies: Any) -> None:
    """Three subjects meet a bug, each with two events; the second waits behind the first. A fourth is well."""
    both = [m for s in ("a", "b", "c") for m in (message(s, 1), message(s, 2, ApplicantWithdrawn(reason="other")))]
    await process(store, [*both, message("d", 1, field="honey")], {}, noon, tallies.move)


def recount(records: Any) -> dict[tuple[str, str], int]:
    """What the tallies must be."""
    counted: dict[tuple[str, str], int] = {}
    for record in records.values():
        for name, n in record.state.heard.items():
            counted[record.state.province, name] = counted.get((record.state.province, name), 0) + n
    return counted


async def test_a_bug_parks_three_and_once_it_is_mended_a_retry_drains_them_in_order(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await three_parked(store, tallies)
    dead = DeadLetters(store, noon, tallies.move)
    (group,) = groups(await dead.all())
    assert (group.letters, group.behind, group.type) == (3, 3, "ir.peyvand.registration.applicant.registered.v1")
    assert group.fault == "ValueError('a bug')" and group.where.startswith("Counting.evolve:")
    ids = [each.id for each in await dead.all(fingerprint=group.fingerprint)]
    assert sorted(ids) == [f"registration/{s}/1" for s in "abc"]

    still = await dead.act("retry", ids, "operator:o1", "", dry_run=True)
    assert {each.outcome for each in still} == {"faulty"} and await dead.kept.held().__anext__()

    store.rules = {"applicant": Mended}
    would = await dead.act("retry", ids, "operator:o1", "", dry_run=True)
    assert [(each.outcome, each.drained) for each in would] == [("drained", 2)] * 3
    assert len(await dead.all()) == 3, "a rehearsal moves nothing"

    done = await dead.act("retry", ids, "operator:o1", "the rules are mended", dry_run=False)
    assert done == would and await dead.all() == []
    records = await store.read(["a", "b", "c", "d"])
    assert all(r.inbox == {"registration": 2} and not r.parked for s, r in records.items() if s != "d")
    assert +tallies.counts == recount(records)
    assert tallies.counts["IR-20", "ApplicantRegistered"] == 4 and tallies.counts["IR-20", "ApplicantWithdrawn"] == 3

    again = await dead.act("retry", ids, "operator:o1", "", dry_run=False)
    assert {each.outcome for each in again} == {"gone"} and +tallies.counts == recount(await store.read([*"abcd"]))


async def test_what_is_given_up_is_a_fact_and_what_waits_behind_it_goes_on(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    await process(store, [message("a", 1), message("a", 2, field="honey")], {}, noon, tallies.move)
    dead = DeadLetters(store, noon, tallies.move)
    with pytest.raises(Refused, match="missing_field"):
        await dead.act("discard", ["registration/a/1"], "operator:o1", "  ", dry_run=False)
    for _ in range(2):  # a request that is repeated gives up nothing more
        (done,) = await dead.act("discard", ["registration/a/1"], "operator:o1", "a test's event", dry_run=False)
    assert done.outcome == "gone"
    record = (await store.read(["a"]))["a"]
    (fact,) = record.discarded
    assert (fact.source, fact.sequence, fact.reason, fact.who) == ("registration", 1, "a test's event", "operator:o1")
    assert record.inbox == {"registration": 2} and +tallies.counts == recount({"a": record})
    if hasattr(dead.kept, "acts") and not isinstance(dead.kept.acts, list):
        acts = [d async for d in dead.kept.acts.find({}, sort=[("_id", 1)])]
        assert [(d["who"], d["action"], d["reason"], d["letters"]) for d in acts] == [
            ("operator:o1", "discard", "a test's event", ["registration/a/1"])
        ] * 2


async def test_a_fingerprint_knows_the_fault_and_no_subject(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    withdrawn = message("z", 1, ApplicantWithdrawn(reason="other"))
    await process(store, [message("x", 1), message("y", 1), withdrawn], {}, noon, tallies.move)
    prints = {each.subject: each.fingerprint for each in await DeadLetters(store, noon).all()}
    assert prints["x"] == prints["y"] != prints["z"]
    assert cause("KeyError('a (b) in c') in Counting.evolve:9") == ("KeyError", "Counting.evolve:9")
    assert cause("ValueError('x\ny')") == ("ValueError", "")


async def test_what_nobody_can_read_is_listed_explained_or_read_by_a_version_that_can(store_of: StoreOf) -> None:
    store, tallies = await store_of("reporting"), Tallies()
    later = message("p", 1, field="honey")
    strange = [Undecodable(LogPosition("t", 3, n), b"\xff 09123456789", f"invalid byte at {n}") for n in (5, 61)]
    await store.quarantine([*strange, Undecodable(LogPosition("t", 4, 1), later.raw, "unknown type 'x'")])
    dead = DeadLetters(store, noon, tallies.move)
    found = groups(await dead.all())
    assert [(each.kind, each.letters) for each in found] == [("unreadable", 2), ("unreadable", 1)]
    (tried,) = await dead.act("retry", ["t/4@1"], "operator:o1", "", dry_run=True)
    assert tried.outcome == "drained" and not tallies.counts
    outcomes = await dead.act("retry", ["t/3@5", "t/4@1"], "operator:o1", "a newer version", dry_run=False)
    assert [each.outcome for each in outcomes] == ["faulty", "drained"]
    assert tallies.counts["IR-20", "ApplicantRegistered"] == 1
    await dead.act("discard", ["t/3@5", "t/3@61"], "operator:o1", "a stranger's", dry_run=False)
    assert await dead.all() == []


def test_an_id_is_an_event_of_a_source() -> None:
    assert parts_of("registration/ledger:1404/IR-20/7") == ("registration", "ledger:1404/IR-20", 7)
    for wrong in ("", "x", "a/b", "a/b/c", "a/b/0", "a//1", "a/b/-1", "a/b/٣", f"a/b/{10**30}"):
        with pytest.raises(Refused, match="letter_unknown"):
            parts_of(wrong)


# Over HTTP


@pytest.fixture
async def desk(issuer: Issuer) -> AsyncIterator["Desk"]:
    """A service with dead letters, and somebody at its door; it is the same over every store."""
    rules: dict[str, Any] = {"applicant": Counting}
    store, tallies = MemoryStore("reporting", rules), Tallies()
    settings = Settings(
        service="tests",
        environment="development",
        kafka="-",
        mongo="-",  # type: ignore[arg-type]
        database="-",
        jwks=issuer.jwks,
        issuer=issuer.name,
    )

    async def ready() -> list[str]:
        return []

    app = create_app(
        settings,
        "Tests",
        lifespan=None,
        ready=ready,
        prefix="/t",
        routers=[dead_letters_api.router(store, noon, tallies.move)],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        yield Desk(store, tallies, client, issuer)


class Desk:
    """An operator with a token."""

    def __init__(self, store: Any, tallies: Tallies, client: httpx.AsyncClient, issuer: Issuer) -> None:
        self.store, self.tallies, self.client, self.issuer = store, tallies, client, issuer

    async def ask(self, method: str, path: str, role: str = "operator", **body: Any) -> httpx.Response:
        """One request."""
        headers = self.issuer.bearer(role, id="o1")
        return await self.client.request(method, f"/t/v1/dead-letters{path}", headers=headers, json=body or None)


async def test_the_door_lists_shows_rehearses_and_acts(desk: Desk) -> None:
    await three_parked(desk.store, desk.tallies)
    (group,) = (await desk.ask("GET", "", "auditor")).json()
    assert group["letters"] == 3 and group["example"] == "registration/a/1"
    first = (await desk.ask("GET", f"/letters?fingerprint={group['fingerprint']}&limit=2")).json()
    rest = (await desk.ask("GET", f"/letters?fingerprint={group['fingerprint']}&after={first['next']}")).json()
    shown = first["items"] + rest["items"]
    assert [each["id"] for each in shown] == [f"registration/{s}/1" for s in "abc"] and rest["next"] is None
    assert shown[0]["event"]["subject"] == "a" and shown[0]["behind"] == 1
    ids = [each["id"] for each in shown]
    would = (await desk.ask("POST", "/retry", letters=ids, dry_run=True)).json()
    assert would["dry_run"] and {each["outcome"] for each in would["outcomes"]} == {"faulty"}
    desk.store.rules = {"applicant": Mended}
    done = (await desk.ask("POST", "/retry", letters=ids, reason="mended")).json()
    assert [each["drained"] for each in done["outcomes"]] == [2, 2, 2]
    assert (await desk.ask("GET", "")).json() == []


async def test_the_door_shows_no_bytes_that_are_no_event(desk: Desk) -> None:
    await desk.store.quarantine(
        [Undecodable(LogPosition("t", 3, 5), b'{"phone": "09123456789"}', "missing field `type`")]
    )
    answer = await desk.ask("GET", "/letters")
    assert "0912" not in answer.text and answer.json()["items"][0]["event"] is None


async def test_wrong_input_is_told_field_by_field(desk: Desk) -> None:
    for role in ("auditor", "ministry_admin", "council"):
        said(await desk.ask("POST", "/retry", role, letters=["a/b/1"]), 403, "forbidden")
    said(await desk.ask("GET", "", "ministry_admin"), 403, "forbidden")
    body = said(await desk.ask("POST", "/retry", letters=["nonsense"]), 422, "letter_unknown")
    assert body["errors"][0]["field"] == "letters" and "nonsense" in body["detail"]
    said(await desk.ask("POST", "/discard", letters=["a/b/1"]), 422, "value_invalid")
    said(await desk.ask("POST", "/retry", letters=[]), 422, "value_invalid")
    said(await desk.ask("POST", "/retry", letters=["a/b/1"], what="else"), 422, "value_invalid")
    gone = (await desk.ask("POST", "/retry", letters=["registration/nobody/1", "registration/what:x/1"])).json()
    assert {each["outcome"] for each in gone["outcomes"]} == {"gone"}


async def test_to_give_up_a_multitude_takes_two(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "ALONE", 2)
    await three_parked(desk.store, desk.tallies)
    refused = await desk.ask("POST", "/discard", letters=["registration/a/1"], reason="all of them")
    assert "two persons" in said(refused, 403, "two_persons_needed")["detail"]
    assert desk.store.kept["a"].parked, "nothing was given up"
    monkeypatch.setattr(dead_letters, "ALONE", 3)
    done = (await desk.ask("POST", "/discard", letters=["registration/a/1"], reason="a test's")).json()
    assert done["outcomes"][0]["outcome"] == "discarded"
