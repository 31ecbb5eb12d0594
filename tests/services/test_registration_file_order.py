"""The order of the rows of a file is the order of registration: it decides who gets the seats among them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.envelope import Envelope, encode
from contracts.events import CaseDecided
from kernel.batch import process
from kernel.errors import Transient
from kernel.record import Message
from registration.api import imports
from tests.support.registration_api import RegistrationApi, a_national_id, csv_file, registration_api

PATH = "/v1/rounds/1404/applications/import"
ROWS, SEATS = 240, 90
RETURNING = (
    3,
    4,
    50,
    51,
    88,
    92,
    93,
    101,
    180,
)  # serials of people who had withdrawn; their ids are older than the file


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    """Programme time stands still here, so that no pause between two writes brings them in order."""
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=SEATS)
        yield running


async def withdraw_before(api: RegistrationApi, serials: tuple[int, ...]) -> None:
    """Register these people, from the last to the first, and let them withdraw."""
    for serial in reversed(serials):
        made = (await api.register(national_id=a_national_id(serial))).json()
        left = await api.request(
            "POST", f"/v1/applications/{made['id']}/withdrawal", json={"reason": "other", "form_number": "20-1404-9"}
        )
        assert left.status_code == 200, left.text


async def admitted_rows(api: RegistrationApi, done: dict[str, Any]) -> list[int]:
    """Approve everybody, the last row first; return the rows whose people were admitted."""
    rows = {each["id"]: each["row"] for each in done["applications"]}
    records = {each.subject: each.state.application for each in await api.applicants()}
    for subject in reversed(rows):
        event = CaseDecided(application=records[subject], outcome="approved")
        envelope = Envelope(source="screening", subject=subject, sequence=1, time=api.now, event=event)
        await process(api.store, [Message(envelope, encode(envelope))], {}, api.clock)
    await api.run_jobs()
    return sorted(rows[each.subject] for each in await api.applicants() if each.state.seat)


async def test_the_first_rows_get_the_seats(api: RegistrationApi) -> None:
    done = (await api.request("POST", PATH, csv=csv_file(range(1, ROWS + 1)), key="key-file")).json()
    assert done["registered"] == ROWS
    assert await admitted_rows(api, done) == list(range(2, SEATS + 2))


async def test_people_who_return_after_a_withdrawal_have_the_place_of_their_row(api: RegistrationApi) -> None:
    await withdraw_before(api, RETURNING)
    done = (await api.request("POST", PATH, csv=csv_file(range(1, ROWS + 1)), key="key-file")).json()
    assert done["registered"] == ROWS
    assert await admitted_rows(api, done) == list(range(2, SEATS + 2))


async def test_the_order_survives_a_restart_in_the_middle_of_the_file(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await withdraw_before(api, RETURNING)
    monkeypatch.setattr(imports, "CHUNK", 20)
    register_many, chunks = api.registrations.register_many, 0

    async def crash(*arguments: Any) -> Any:
        nonlocal chunks
        chunks += 1
        if chunks == 4:
            raise Transient("the process crashes here")
        return await register_many(*arguments)

    file = csv_file(range(1, ROWS + 1))
    with monkeypatch.context() as patched:
        patched.setattr(api.registrations, "register_many", crash)
        assert (await api.request("POST", PATH, csv=file, key="key-file")).status_code == 503
    done = (await api.request("POST", PATH, csv=file, key="key-file")).json()
    assert done["registered"] == ROWS
    assert await admitted_rows(api, done) == list(range(2, SEATS + 2))
