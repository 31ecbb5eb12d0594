"""Messages to applicants: written with the change, sent once, asked for after a crash, deleted with the person."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided, CaseInfoRequested, CaseInfoSupplied, Event
from kernel.batch import process
from kernel.commands import CommandMetadata, execute
from kernel.record import Message, Record, reindex
from kernel.stores.mongodb import connect
from registration.domain import applicant as rules
from registration.domain.applicant import Withdraw
from registration.jobs.messages import RECEIPTS, RETRY, TAKEN, messages_of, reference_of
from registration.jobs.notifications import Notifications
from registration.jobs.sms import Outcome, SmsFile, Unanswered
from registration.service import service
from tests.support.registration_api import ALL_PARTITIONS, ERASURE, RegistrationApi, a_national_id, registration_api
from tests.support.servers import Servers

NUMBER = "+989120000018"


class Provider:
    """A provider of text messages in this process, which loses answers or refuses on demand."""

    at_once = 1

    def __init__(self) -> None:
        self.sent: dict[int, tuple[str, str]] = {}
        self.requests: list[str] = []
        self.answer: Callable[[], Outcome] = lambda: "delivered"
        self.lost = self.down = False  # the answer is lost after the message was taken; nothing is taken

    async def send(self, reference: int, number: str, text: str) -> Outcome:
        self.requests.append("send")
        if self.down:
            raise Unanswered("down")
        assert reference not in self.sent, "sent twice"
        self.sent[reference] = number, text
        if self.lost:
            raise Unanswered("lost")
        return self.answer()

    async def outcome(self, reference: int) -> Outcome | None:
        self.requests.append("outcome")
        if self.down:
            raise Unanswered("down")
        return self.answer() if reference in self.sent else None


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=1)
        yield running


@pytest.mark.server
async def test_messages_are_kept_in_mongodb(tmp_path: Path, servers: Servers, provider: Provider) -> None:
    client, name = connect(servers.mongo), servers.database()
    await service.create_indexes(client[name])
    api = RegistrationApi(tmp_path, client, name)
    async with api.client:
        await api.open_round()
        subject = (await api.register()).json()["id"]
        provider.answer = lambda: "sent"
        await run(worker(api, provider))
        assert await states(api) == {"1/registered/1": "sent"}
        api.advance(seconds=RECEIPTS[0].total_seconds())
        provider.answer = lambda: "delivered"
        await run(worker(api, provider))
        assert await states(api) == {"1/registered/1": "delivered"}
        await api.request("POST", f"/v1/applications/{subject}/erasure", "manager", json=ERASURE)
        assert await states(api) == {}
    for each in (name, f"{name}_keys"):
        await client.drop_database(each)
    await client.close()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def job(api: RegistrationApi, provider: Provider) -> Notifications:
    return worker(api, provider)


def worker(api: RegistrationApi, sms: Any) -> Notifications:
    """Return the job of a worker that has just started."""
    return Notifications(api.store, api.persons, api.registrations.codes, sms, api.clock)


async def run(job: Notifications) -> None:
    """Run the job until nothing is due."""
    job.pause_until = 0.0
    while await job(ALL_PARTITIONS) or job.running:
        if job.running:
            await job.running


async def applicant(api: RegistrationApi) -> Record:
    [record] = await api.applicants()
    return record


async def states(api: RegistrationApi) -> dict[str, str]:
    return {each.key: each.state for each in messages_of(await applicant(api))}


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("peyvand_notifications_total", {"outcome": outcome}) or 0.0


async def test_a_registration_is_confirmed_once_with_the_code_to_the_number_of_the_person(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    code, before = (await api.register()).json()["tracking_code"], counted("delivered")
    await run(job)
    await run(job)
    [(number, text)] = provider.sent.values()
    assert number == NUMBER and code in text
    assert await states(api) == {"1/registered/1": "delivered"}
    assert counted("delivered") == before + 1
    record = await applicant(api)
    assert record.state.notifications == () and "notify_due" not in record.indexed


async def test_neither_number_nor_text_nor_code_is_stored_or_logged(
    api: RegistrationApi, provider: Provider, job: Notifications, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    code = (await api.register()).json()["tracking_code"]
    provider.down = True
    await run(job)
    provider.down = False
    api.advance(hours=1)
    await run(job)
    stored = repr(await applicant(api))
    for secret in (NUMBER, NUMBER[3:], code, "پیوند"):
        assert secret not in stored and secret not in caplog.text
    assert len(provider.sent) == 1


async def test_after_a_lost_answer_or_a_crash_the_provider_is_asked_before_anything_is_sent_again(
    api: RegistrationApi, provider: Provider
) -> None:
    await api.register()
    provider.lost = True
    await run(worker(api, provider))
    assert await states(api) == {"1/registered/1": "sending"} and provider.requests == ["send"]
    provider.lost = False
    restarted = worker(api, provider)
    await run(restarted)
    assert provider.requests == ["send"], "not before it is due again"
    api.advance(seconds=RETRY.total_seconds())
    await run(restarted)
    assert provider.requests == ["send", "outcome"] and await states(api) == {"1/registered/1": "delivered"}


async def test_a_crash_leaves_one_unknown_outcome_and_what_the_provider_does_not_have_is_sent(
    api: RegistrationApi, provider: Provider
) -> None:
    for serial in range(1, 4):
        await api.register(national_id=a_national_id(serial))

    async def crash(reference: int, number: str, text: str) -> Outcome:
        raise KeyboardInterrupt

    dying = worker(api, provider)
    provider.send, send = crash, provider.send  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await dying._pass([each.subject for each in await api.applicants()])
    [unknown] = [state for each in await api.applicants() for state in messages_of(each)]
    assert unknown.state == "sending"
    provider.send = send  # type: ignore[method-assign]
    restarted = worker(api, provider)
    await run(restarted)
    assert len(provider.sent) == 2 and "outcome" not in provider.requests
    api.advance(seconds=TAKEN.total_seconds())
    await run(restarted)
    assert len(provider.sent) == 3 and provider.requests.count("outcome") == 1


async def test_a_receipt_is_asked_for_and_then_the_outcome_is_unknown(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    provider.answer = lambda: "sent"
    await api.register()
    await run(job)
    assert await states(api) == {"1/registered/1": "sent"}
    for wait in RECEIPTS:
        api.advance(seconds=wait.total_seconds())
        await run(job)
    assert await states(api) == {"1/registered/1": "unknown"} and provider.requests == ["send", *["outcome"] * 3]


async def test_what_cannot_be_delivered_has_failed(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    provider.answer = lambda: "failed"
    await api.register()
    await run(job)
    api.advance(days=1)
    await run(job)
    assert await states(api) == {"1/registered/1": "failed"} and provider.requests == ["send"]


async def test_while_the_provider_is_down_nothing_is_lost_and_the_overdue_time_grows(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    provider.down = True
    for _ in range(6):
        await run(job)
        api.advance(hours=1)
    assert (REGISTRY.get_sample_value("peyvand_notifications_overdue_seconds") or 0) > 0
    provider.down = False
    await run(job)
    assert len(provider.sent) == 1
    await run(job)
    assert REGISTRY.get_sample_value("peyvand_notifications_overdue_seconds") == 0


async def test_a_message_that_is_no_news_any_more_is_not_sent(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    api.advance(days=4)
    await run(job)
    assert provider.sent == {} and await states(api) == {"1/registered/1": "late"}


async def test_a_code_that_was_replaced_is_not_sent(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    body = {"national_id": a_national_id(1)}
    reissued = await api.request("POST", "/v1/rounds/1404/tracking-codes", key="key-0001", json=body)
    await run(job)
    [(_, text)] = provider.sent.values()
    assert reissued.json()["tracking_code"] in text
    assert await states(api) == {"1/registered/1": "void", "1/code/2": "delivered"}


async def test_a_request_for_papers_names_its_last_day_and_is_not_sent_once_it_is_over(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    await run(job)
    asked = CaseInfoRequested(items=("sample_photo",), due=date(2025, 10, 18), case_due=date(2025, 10, 26))
    came = CaseInfoSupplied(items=("sample_photo",), case_due=date(2025, 10, 26))
    for sequence, event in enumerate((asked, came, replace(asked, due=date(2025, 10, 25))), 1):
        await consume(api, sequence, event)
    await run(job)
    _, (_, text) = provider.sent.values()
    assert "تا شنبه ۳ آبان ۱۴۰۴ به دبیرخانهٔ طرح" in text
    await consume(api, 4, asked)
    await consume(api, 5, came)
    await run(job)
    delivered = {"1/registered/1": "delivered", "1/papers/2": "delivered"}
    assert await states(api) == {**delivered, "1/papers/1": "void", "1/papers/3": "void"}


async def reject(api: RegistrationApi) -> None:
    """Consume a rejection by screening."""
    await consume(api, 1, CaseDecided(outcome="rejected", reasons=("insured",)))


async def consume(api: RegistrationApi, sequence: int, event: Event) -> None:
    """Consume an event of screening about the applicant."""
    record = await applicant(api)
    envelope = Envelope(source="screening", subject=record.subject, sequence=sequence, time=api.now, event=event)
    await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)


async def test_what_can_wait_waits_for_the_morning(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    await run(job)
    api.advance(hours=13)  # 22:30 in Tehran
    await reject(api)
    await run(job)
    assert len(provider.sent) == 1
    api.advance(hours=9, minutes=29)  # 07:59
    await run(job)
    assert len(provider.sent) == 1
    api.advance(minutes=1)
    await run(job)
    text = [text for _, text in provider.sent.values()][-1]
    assert "اعتراض" in text and "۱۴۰۴" in text, "until when the person may appeal"


async def test_an_event_that_is_consumed_twice_is_one_message(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    await reject(api)
    await run(job)
    await reject(api)
    await run(job)
    assert await states(api) == {"1/registered/1": "delivered", "1/rejected/0": "delivered"}


async def test_history_that_is_folded_again_sends_nothing_again(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    record = await applicant(api)
    folded = record.state.notifications
    await run(job)
    record = await applicant(api)
    again = reindex(replace(record, state=replace(record.state, notifications=folded)), rules)
    assert await api.store.swap(record, again)
    await run(job)
    assert len(provider.sent) == 1 and (await applicant(api)).state.notifications == ()


async def test_erasure_deletes_messages_and_sends_none(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    subject = (await api.register()).json()["id"]
    await run(job)
    await reject(api)
    await api.request("POST", f"/v1/applications/{subject}/erasure", "manager", json=ERASURE)
    await api.run_jobs()
    await run(job)
    assert await states(api) == {} and len(provider.sent) == 1


async def test_a_second_registration_keeps_what_became_of_the_messages_of_the_first(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    await api.register()
    await run(job)
    record = await applicant(api)
    await execute(api.store, record.subject, Withdraw("own_request"), api.clock, CommandMetadata())
    await run(job)
    await api.register()
    await run(job)
    assert [*await states(api)] == ["1/registered/1", "1/withdrawn/0", "2/registered/2"]


async def test_who_cannot_be_identified_does_not_stop_the_others(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    lost = (await api.register()).json()["id"]
    await api.register(national_id=a_national_id(2))
    record = api.store.records[lost]
    private = replace(record.private, content={**record.private.content, "sealed": b"\x01" + bytes(60)})
    api.store.records[lost] = replace(record, private=private)
    await run(job)
    assert len(provider.sent) == 1


async def test_the_file_has_a_line_for_each_message(api: RegistrationApi, tmp_path: Path) -> None:
    file = tmp_path / "sms.jsonl"
    for serial in range(1, 6):
        await api.register(national_id=a_national_id(serial))
    sms = SmsFile(file)
    await run(worker(api, sms))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["to"] for line in lines] == [NUMBER] * 5 and len({line["reference"] for line in lines}) == 5
    assert await sms.outcome(lines[0]["reference"]) == "delivered" and await sms.outcome(7) is None


def test_a_reference_is_that_of_one_message_of_one_person() -> None:
    found = {reference_of(f"subject-{n}", key) for n in range(100) for key in ("1/registered/1", "1/code/2")}
    assert len(found) == 200 and all(0 <= each < 2**63 for each in found)
    assert reference_of("subject-1", "1/code/2") == reference_of("subject-1", "1/code/2")
