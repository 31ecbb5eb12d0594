"""Identity checks: an applicant for whom one raises delays no other applicant, however many of them there are."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from time import monotonic

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from kernel.errors import Transient
from kernel.record import Record
from registration.domain import applicant
from registration.domain.applicant import RecordIdentityCheck
from registration.domain.application import Values
from registration.jobs import faults, identity_checks
from registration.jobs.identity_checks import DevelopmentRegistry
from tests.support.registration_api import RegistrationApi, a_national_id, csv_file, registration_api

IMPORT = "/v1/rounds/1404/applications/import"
COUNT = 12


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RegistrationApi]:
    """Registration over memory, with so few checks in one request that several are needed."""
    monkeypatch.setattr(identity_checks, "CHECKS", 4)
    async with registration_api(tmp_path) as api:
        await api.open_round()
        yield api


async def import_applicants(api: RegistrationApi) -> list[str]:
    """Import applicants whose identities match; return their subjects, the longest overdue first."""
    file = csv_file(range(3_010, 3_010 + COUNT))
    response = await api.request("POST", IMPORT, csv=file, key="key-file")
    assert response.status_code == 200, response.text
    return sorted(each["id"] for each in response.json()["applications"])


async def run_checks(api: RegistrationApi) -> None:
    """Run the jobs as often as the worker would within a moment: a call that records nothing is followed by others."""
    for _ in range(COUNT):
        await api.run_jobs()


def seal_with_another_key(api: RegistrationApi, subject: str) -> None:
    record: Record = api.store.records[subject]
    private = replace(record.private, content={**record.private.content, "sealed": b"\x01" + bytes(60)})
    api.store.records[subject] = replace(record, private=private)


def checked(api: RegistrationApi, subjects: Sequence[str]) -> list[str]:
    """Return which of these applicants have an answer of the registry."""
    return [subject for subject in subjects if api.store.records[subject].state.current.identity == "match"]


def counted() -> float:
    return REGISTRY.get_sample_value("peyvand_scheduler_faults_total", {"service": "registration"}) or 0.0


def unreadable_identity(api: RegistrationApi, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seal_with_another_key(api, subject)


def registry_raises(api: RegistrationApi, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry cannot handle the identity that comes first in the file."""
    check = DevelopmentRegistry.check

    async def raising(self: DevelopmentRegistry, identities: Sequence[Values]) -> Sequence[str]:
        if any(each["national_id"] == a_national_id(3_010) for each in identities):
            raise ValueError(a_national_id(3_010))
        return await check(self, identities)

    monkeypatch.setattr(DevelopmentRegistry, "check", raising)


def rule_raises(api: RegistrationApi, subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, decide = api.store.records[subject].state, applicant.decide

    def raising(before: applicant.State, command: applicant.Command, at: object) -> object:
        if isinstance(command, RecordIdentityCheck) and before is state:
            raise ZeroDivisionError
        return decide(before, command, at)  # type: ignore[arg-type]

    monkeypatch.setattr(applicant, "decide", raising)


Break = Callable[[RegistrationApi, str, pytest.MonkeyPatch], None]


@pytest.mark.parametrize("broken", [unreadable_identity, registry_raises, rule_raises])
async def test_an_applicant_for_whom_the_check_raises_delays_no_other(
    api: RegistrationApi, broken: Break, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subjects, before = await import_applicants(api), counted()
    broken(api, subjects[0], monkeypatch)
    await run_checks(api)
    unchecked = set(subjects) - set(checked(api, subjects))
    assert len(unchecked) == 1 and set(api.checks.faults.recent()) == unchecked
    assert counted() == before + 1, "once, not with each call"
    log = capsys.readouterr().out
    assert f"subject='{unchecked.pop()}'" in log and a_national_id(3_010) not in log


async def test_more_of_them_than_one_request_holds_delay_no_other_and_are_tried_again(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects = await import_applicants(api)
    records = {subject: api.store.records[subject] for subject in subjects[:9]}
    for subject in records:
        seal_with_another_key(api, subject)
    await run_checks(api)
    assert checked(api, subjects) == subjects[9:]
    for subject, record in records.items():
        api.store.records[subject] = record
    await run_checks(api)
    assert checked(api, subjects) == subjects[9:], "not at once"
    later = monotonic() + faults.RETRY
    monkeypatch.setattr(faults, "monotonic", lambda: later)
    await run_checks(api)
    assert checked(api, subjects) == subjects


async def test_an_unreachable_database_concerns_no_single_applicant(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await import_applicants(api)

    async def unreachable(records: Sequence[Record]) -> dict[str, Values]:
        raise Transient

    monkeypatch.setattr(api.persons, "open", unreachable)
    with pytest.raises(Transient):
        await run_checks(api)
    assert not api.checks.faults.recent() and not api.checks.request
