"""Officers import a file on pages: it is checked, registered by the worker, corrected, and the codes are printed."""

import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from base.ids import shown_code
from base.spreadsheet import rows_of
from contracts.commands import Refused
from contracts.subjects import PARTITIONS
from registration import import_runs
from registration.api.xlsx import XLSX
from registration.api.xlsx import rows_of as rows_of_workbook
from registration.domain.application import COLUMNS, REASON
from registration.domain.ledger import seats_for
from registration.import_runs import Run
from registration.pages import imports as pages
from tests.support.registration_api import ALL_PARTITIONS, RegistrationApi, a_national_id, csv_file, registration_api
from tests.support.workbooks import as_workbook

HEADERS = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RegistrationApi]:
    monkeypatch.setattr(import_runs, "PART", 3)
    async with registration_api(tmp_path) as running:
        await running.open_round(quota=4)
        yield running


async def send(api: RegistrationApi, file: str | bytes, **options: Any) -> httpx.Response:
    """Send a file to be checked."""
    files = {"file": ("people", file, "application/octet-stream")}
    data = {"round": options.pop("round", "1404")}
    return await api.request("POST", "/imports", headers=HEADERS, files=files, data=data, **options)


async def get(api: RegistrationApi, path: str, status: int = 200, **options: Any) -> httpx.Response:
    found = await api.request("GET", path.removeprefix("/registration"), headers=HEADERS, **options)
    assert found.status_code == status, found.text
    return found


async def checked(api: RegistrationApi, file: str | bytes) -> str:
    """Return the path of the page of a file that was sent."""
    sent = await send(api, file)
    assert sent.status_code == 303, sent.text
    return sent.headers["location"]


async def start(api: RegistrationApi, path: str, mode: str = "rows", **changes: str) -> httpx.Response:
    """Send the form of the page."""
    found = re.search(r'name="digest" value="(\w+)"', (await get(api, path)).text)
    form = {"mode": mode, "digest": found[1] if found else "", **changes}
    return await api.request("POST", f"{path.removeprefix('/registration')}/start", headers=HEADERS, data=form)


async def work(api: RegistrationApi, calls: int = 1_000) -> None:
    """Let the worker do its part."""
    for _ in range(calls):
        api.imports.queried_at = -1e9
        if not await api.imports(ALL_PARTITIONS):
            break


async def run_of(api: RegistrationApi, path: str) -> Run:
    return await api.import_runs.find("IR-20", path.rpartition("/")[2])


def sealed(api: RegistrationApi) -> list[str]:
    """Return the documents that hold sealed identities."""
    return [key for key, each in api.import_runs.documents.documents.items() if "sealed" in each]  # type: ignore[attr-defined]


def documents(api: RegistrationApi) -> list[str]:
    """Return the ids of all documents about imports."""
    return [*api.import_runs.documents.documents]  # type: ignore[attr-defined]


def faulty(rows: int) -> str:
    """Return a file whose row 3 is wrong, and whose last row names the person of row 2."""
    lines = csv_file(range(1, rows + 1)).splitlines()
    lines[2] = lines[2].replace("female", "woman")
    return "\n".join([*lines, lines[1]]) + "\n"


async def test_a_file_is_checked_registered_corrected_and_its_codes_are_printed(api: RegistrationApi) -> None:
    await api.register(national_id=a_national_id(7))
    path = await checked(api, faulty(9))
    assert len(await api.applicants()) == 1, "a check registers no one"
    page = (await get(api, path)).text
    assert "۷ ردیف آماده است، ۲ ردیف نه" in page and '<b>۱</b> <i class="sg-c">' in page
    assert (
        '<b>۴</b> <i class="sg-a"></i>جایگاه می‌گیرند' in page and '<b>۳</b> <i class="sg-c"></i>در فهرست انتظار' in page
    )
    assert (await start(api, path)).status_code == 303
    assert 'http-equiv="refresh"' in (await get(api, path)).text and len(await api.applicants()) == 1
    await work(api)
    people = {each.subject: each for each in await api.applicants()}
    assert len(people) == 8 and {each.state.current.intake_channel for each in people.values()} >= {"import"}
    page = (await get(api, path)).text
    assert "۷ نفر ثبت شدند" in page and "http-equiv" not in page
    assert all(key.startswith("refused/") for key in sealed(api)), "identities are not kept twice"

    given = await get(api, f"{path}/refused")
    (_, header), *rows = rows_of(given.content)
    assert header == [*COLUMNS, REASON.fa] and len(rows) == 2
    assert ("import/refused", path.rpartition("/")[2]) in {(r.purpose, r.subject) for r in await api.audit.all()}
    corrected = given.text.replace("woman", "female").splitlines()[:2]
    again = await checked(api, "\n".join(corrected) + "\n")
    assert (await run_of(api, again)).ready == 1

    sheet = (await get(api, f"{path}/codes")).text
    registered = await api.import_runs.registered(await run_of(api, path))
    codes = [shown_code(api.registrations.codes.code_of(people[each.subject])) for each in registered]
    assert re.findall(r'<b class="code">([^<]+)</b>', sheet) == codes and len(codes) == 7
    read = [row.subject for row in await api.audit.all() if row.purpose == "import/code"]
    assert sorted(read) == sorted(each.subject for each in registered)
    await api.request("POST", "/v1/rounds/1404/tracking-codes", json={"national_id": a_national_id(1)}, key="key-again")
    left = re.findall(r'<b class="code">([^<]+)</b>', (await get(api, f"{path}/codes")).text)
    assert left == codes[1:], "who has another code gets neither on a sheet"


async def test_all_or_nothing_registers_no_one_while_a_row_is_wrong(api: RegistrationApi) -> None:
    path = await checked(api, faulty(4))
    refused = await start(api, path, "whole")
    assert refused.status_code == 409 and "همه یا هیچ" in refused.text
    whole = await checked(api, csv_file(range(20, 27)))
    assert (await start(api, whole, "whole")).status_code == 303
    await work(api, 1)
    for _ in range(3):  # one of the last rows is refused meanwhile, by the record of who returns too often
        made = (await api.register(national_id=a_national_id(26))).json()
        left = {"reason": "other", "form_number": "20-1404-9"}
        await api.request("POST", f"/v1/applications/{made['id']}/withdrawal", json=left)
    await work(api)
    assert (await run_of(api, whole)).state == "refused" and len(await api.applicants()) == 1
    assert all(key.startswith("refused/") or path.rpartition("/")[2] in key for key in sealed(api))
    assert "هیچ‌کس ثبت نشد" in (await get(api, whole)).text
    rows = await checked(api, csv_file(range(30, 37)))
    await start(api, rows, "whole")
    await work(api)
    assert ((await run_of(api, rows)).registered, len(await api.applicants())) == (7, 8)


@pytest.mark.parametrize("lost", ["store_part", "changed"])
async def test_a_worker_that_ends_anywhere_registers_no_one_twice(
    api: RegistrationApi, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await checked(api, csv_file(range(1, 9)))
    await start(api, path)
    await work(api, 1)

    async def ends(*_: object, **__: object) -> None:
        raise ConnectionError

    api.advance(seconds=3)
    with monkeypatch.context() as patch:
        patch.setattr(api.import_runs, lost, ends)
        await work(api, 1)
    assert len(await api.applicants()) == 6 and (await run_of(api, path)).registered == 3
    api.advance(seconds=-5)  # the next worker's clock is behind
    api.imports.faults.reported.clear()  # a minute passes
    await work(api)
    done = await run_of(api, path)
    assert (done.state, done.registered, done.already, len(await api.applicants())) == ("done", 8, 0, 8)
    assert [each.row for each in await api.import_runs.registered(done)] == list(range(2, 10))
    by_time = sorted(await api.applicants(), key=lambda each: (each.state.current.registered_at, each.subject))
    assert [each.subject for each in by_time] == [each.subject for each in await api.import_runs.registered(done)]


async def test_only_the_worker_of_its_partition_goes_on_with_an_import(api: RegistrationApi) -> None:
    await start(api, await checked(api, csv_file(range(1, 4))))
    seen = [n for n in range(PARTITIONS) if await api.import_runs.running([n])]
    assert len(seen) == 1
    api.imports.queried_at = -1e9
    assert await api.imports(ALL_PARTITIONS - set(seen)) == 0 and not await api.applicants()


async def test_the_same_file_and_the_same_button_twice_are_once(api: RegistrationApi) -> None:
    file = csv_file(range(1, 5))
    path = await checked(api, file)
    assert await checked(api, file) == path, "it waits for a decision already"
    other = await start(api, path, digest="00" * 32)
    assert other.status_code == 409 and (await run_of(api, path)).state == "checked"
    assert (await start(api, path, mode="")).status_code == 422
    digest = (await run_of(api, path)).digest.hex()
    for _ in range(2):
        assert (await start(api, path, digest=digest)).status_code == 303
    await work(api)
    assert (await start(api, path, digest=digest)).status_code == 303
    assert (await run_of(api, path)).registered == 4 == len(await api.applicants())


async def test_a_round_that_closes_meanwhile_takes_no_one(api: RegistrationApi) -> None:
    path = await checked(api, csv_file(range(1, 8)))
    await start(api, path)
    await work(api, 1)
    api.advance(days=400)
    api.registrations.invalidate("1404")
    await work(api)
    done = await run_of(api, path)
    assert (done.registered, done.late, {each.code for each in done.errors}) == (3, 4, {"intake_closed"})
    assert "۴ ردیف برای اصلاح" in (await get(api, path)).text


async def test_what_is_kept_is_deleted_in_time(api: RegistrationApi) -> None:
    unused, used = await checked(api, faulty(4)), await checked(api, csv_file(range(20, 24)))
    await start(api, used)
    await work(api)
    now = api.clock().recorded
    await api.import_runs.purge(now + import_runs.UNUSED)
    assert (await run_of(api, unused)).state == "expired" and not sealed(api)
    assert (await start(api, unused)).status_code == 409
    await get(api, f"{unused}/refused", 404)
    assert "شنبه" in (await get(api, "/imports")).text, "the history stays"
    await api.import_runs.purge(now + 2 * import_runs.KEPT)
    assert '<b class="code">' not in (await get(api, f"{used}/codes")).text
    assert not [key for key in documents(api) if not key.startswith("run/")], "nothing is left to be looked at again"


async def test_an_import_that_stands_still_is_deleted_as_well(api: RegistrationApi) -> None:
    path = await checked(api, csv_file(range(1, 8)))
    await start(api, path)
    await work(api, 1)
    now = api.clock().recorded
    await api.import_runs.purge(now + import_runs.UNUSED)
    assert len(sealed(api)) == 2, "a worker may still go on"
    await api.import_runs.purge(now + import_runs.KEPT + import_runs.UNUSED)
    assert not sealed(api) and (await run_of(api, path)).state == "expired"
    await work(api)
    page = (await get(api, path)).text
    assert "یک هفته پیش نرفت" in page and '<b>۳</b> <i class="sg-a">' in page and len(await api.applicants()) == 3


async def test_a_file_that_is_started_while_it_is_deleted_is_not_lost_half(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await checked(api, csv_file(range(1, 4)))
    run, delete = await run_of(api, path), api.import_runs.documents.delete
    late: list[Refused] = []

    async def starts(prefix: str) -> None:
        await delete(prefix)
        if not late:
            with pytest.raises(Refused) as refused:
                await api.import_runs.start(await run_of(api, path), "rows", run.at)
            late.append(refused.value)

    monkeypatch.setattr(api.import_runs.documents, "delete", starts)
    await api.import_runs.purge(run.changed_at + import_runs.UNUSED)
    assert [each.code for each in late] == ["import_expired"]


async def test_no_identity_of_a_file_lies_open(api: RegistrationApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the documents, nor on the disk to which the parser of forms moves what is large."""

    def rollover(self: object) -> None:
        raise AssertionError("moved to a disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    header, row, wrong = csv_file(range(1, 3), last_name="بی‌نشان").splitlines()
    wrong = wrong.replace("female", "x" * 150)
    path = await checked(api, "\n".join([header, row, *[wrong] * 8_000]))
    assert (await run_of(api, path)).wrong == 8_000
    stored = repr(api.import_runs.documents.documents)  # type: ignore[attr-defined]
    assert "بی‌نشان" not in stored and a_national_id(1) not in stored and "xxxxx" not in stored


async def test_an_import_belongs_to_its_officer_and_its_province(api: RegistrationApi) -> None:
    path = await checked(api, faulty(4))
    await get(api, path, 404, scope="IR-23")
    assert path not in (await get(api, "/imports", scope="IR-23")).text and path in (await get(api, "/imports")).text
    seen = (await get(api, path, role="manager")).text
    assert "/start" not in seen and "/refused" not in seen
    for act in ("refused", "codes"):
        await get(api, f"{path}/{act}", 409, role="manager")
    outside = await checked(api, csv_file(range(50, 52), province="IR-23", county="2301"))
    assert (await run_of(api, outside)).wrong == 2


@pytest.mark.parametrize(
    ("file", "options", "expected"),
    [
        ("", {}, "این بخش را هم پر کنید"),
        ("a,b\n1,2\n", {}, "نام ستون‌های فایل"),
        (b"PK\x03\x04broken", {}, "این فایل خوانده نشد"),
        (csv_file(range(1, 2)), {"round": "1399"}, "دوره"),
    ],
)
async def test_a_file_that_is_no_table_is_refused_at_its_field(
    api: RegistrationApi, file: str | bytes, options: dict[str, str], expected: str
) -> None:
    refused = await send(api, file, **options)
    assert refused.status_code >= 400 and expected in refused.text
    assert 'role="alert"' in refused.text and 'href="#file"' in refused.text


async def test_a_body_that_is_no_upload_is_refused(api: RegistrationApi) -> None:
    form = await api.request("POST", "/imports", headers=HEADERS, data={"round": "1404"})
    assert form.status_code == 415
    wrong = {**HEADERS, "Content-Type": f"{pages.MULTIPART}; boundary=x"}
    for content in (b"", b"--x\r\nContent-Disposition: form-data\r\n\r\n1", b"--x--" * 9):
        broken = await api.request("POST", "/imports", headers=wrong, content=content)
        assert broken.status_code in (400, 422), broken.text
    assert (
        await api.request("POST", "/imports", headers={**wrong, "Content-Type": pages.MULTIPART})
    ).status_code == 400


async def test_the_sample_is_a_file_that_is_ready(api: RegistrationApi) -> None:
    for ending in ("csv", "xlsx"):
        sample = await get(api, f"/imports/template.{ending}")
        assert "attachment" in sample.headers["Content-Disposition"]
        run = await run_of(api, await checked(api, sample.content))
        assert (run.rows, run.ready, run.workbook) == (1, 1, ending == "xlsx")
    await get(api, "/imports/template.exe", 404)


async def test_a_workbook_comes_back_as_a_workbook(api: RegistrationApi) -> None:
    path = await checked(api, as_workbook(faulty(4)))
    given = await get(api, f"{path}/refused")
    assert given.headers["content-type"] == XLSX and len(list(rows_of_workbook(given.content))) == 3


async def test_who_tries_numbers_by_files_is_slowed_down_here_too(api: RegistrationApi) -> None:
    for first in (1, 31, 61):
        await api.request(
            "POST",
            "/v1/rounds/1404/applications/import",
            csv=csv_file(range(first, first + 30)),
            key=f"key-of-{first}",
            id="of-2",
        )
        last = await send(api, csv_file(range(first, first + 30)))
    assert last.status_code == 429 and "Retry-After" in last.headers


async def test_an_expired_token_leads_back_to_the_page_without_the_file(api: RegistrationApi) -> None:
    sent = await send(api, csv_file(range(1, 3)), role="")
    assert sent.status_code == 303 and sent.headers["location"].endswith("?to=/registration/imports")


def test_seats_go_to_those_who_wait_first() -> None:
    assert seats_for(10, 4, 1) == (3, 7)
    assert seats_for(10, 4, 9) == (0, 10)
    assert seats_for(2, 4, 0) == (2, 0)
