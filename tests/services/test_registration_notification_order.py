"""Messages of other applicants: one that cannot be handled stops none, and a file imported at night wakes no one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from kernel.record import Record
from registration.jobs.notifications import Notifications
from registration.jobs.sms import Outcome
from tests.support.registration_api import ALL_PARTITIONS, RegistrationApi, a_national_id, csv_file, registration_api


class Provider:
    """A provider of text messages in this process."""

    at_once = 1

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send(self, reference: int, number: str, text: str) -> Outcome:
        self.sent.append(text)
        return "delivered"

    async def outcome(self, reference: int) -> Outcome | None:
        return None


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=1)
        yield running


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def job(api: RegistrationApi, provider: Provider) -> Notifications:
    return Notifications(api.store, api.persons, api.registrations.codes, provider, api.clock)


async def run(job: Notifications) -> None:
    """Run the job until nothing is due."""
    while await job(ALL_PARTITIONS) or job.running:
        if job.running:
            await job.running


@pytest.mark.parametrize("broken", ["policy", "occasion"])
async def test_a_message_that_this_version_cannot_handle_does_not_stop_the_others(
    api: RegistrationApi, provider: Provider, job: Notifications, broken: str
) -> None:
    first = (await api.register()).json()["id"]
    api.advance(seconds=1)
    await api.register(national_id=a_national_id(2))
    record = api.store.records[first]
    state = record.state
    if broken == "policy":
        state = replace(state, context=replace(state.context, policy="1499-1"))
    else:
        state = replace(state, notifications=tuple(replace(each, occasion="later") for each in state.notifications))
    api.store.records[first] = replace(record, state=state)
    await run(job)
    assert len(provider.sent) == 1


async def test_a_text_that_cannot_be_made_does_not_stop_the_others(
    api: RegistrationApi, provider: Provider, job: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await api.register()).json()["id"]
    await api.register(national_id=a_national_id(2))
    code_of = api.registrations.codes.code_of

    def lost_key(record: Record) -> str:
        if record.subject == first:
            raise KeyError(record.subject)
        return code_of(record)

    monkeypatch.setattr(api.registrations.codes, "code_of", lost_key)
    await run(job)
    assert len(provider.sent) == 1


async def test_who_was_imported_at_night_is_sent_the_code_in_the_morning(
    api: RegistrationApi, provider: Provider, job: Notifications
) -> None:
    api.now = datetime(2025, 9, 28, 23, 30, tzinfo=UTC)  # three o'clock in Tehran
    file = csv_file(range(2, 4))
    sent = await api.request("POST", "/v1/rounds/1404/applications/import", csv=file, key="the-file")
    assert sent.json()["registered"] == 2
    await api.register()
    await run(job)
    assert len(provider.sent) == 1, "who registers at night waits for the code"
    api.advance(hours=5)
    await run(job)
    assert len(provider.sent) == 3
