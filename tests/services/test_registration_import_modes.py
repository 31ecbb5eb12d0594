"""The two modes of an import, its dry run, and the file of refused rows: one set of checks for all of them."""

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from openpyxl import load_workbook

from base.spreadsheet import rows_of
from registration.api import imports
from registration.api.xlsx import XLSX, workbook_of
from registration.domain.application import COLUMNS, REASON
from tests.support.registration_api import RegistrationApi, a_national_id, csv_file, registration_api
from tests.support.workbooks import as_workbook, sheet_of

PATH = "/v1/rounds/1404/applications/import"
WRONG = {3: ("sex", "woman", "code_unknown"), 5: ("province", "IR-31", "province_code_old")}  # by row


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[RegistrationApi]:
    async with registration_api(tmp_path) as running:
        await running.open_round()
        yield running


def a_file(rows: int = 8) -> str:
    """Return a file with the values of WRONG, and the last row naming the person of row 2."""
    lines = csv_file(range(1, rows + 1)).splitlines()
    fields = list(COLUMNS.values())
    for row, (field, value, _) in WRONG.items():
        cells = lines[row - 1].split(",")
        cells[fields.index(field)] = value
        lines[row - 1] = ",".join(cells)
    lines.append(lines[1])
    return "\n".join(lines) + "\n"


async def send(
    api: RegistrationApi, file: str, query: str = "", key: str = "key-file", **options: Any
) -> httpx.Response:
    return await api.request("POST", f"{PATH}{query}", csv=file, key=key, **options)


async def withdrawn_too_often(api: RegistrationApi, serial: int) -> None:
    """Let a person use up the tracking codes of a day and withdraw: registering again is refused by their record."""
    for _ in range(3):
        made = (await api.register(national_id=a_national_id(serial))).json()
        left = await api.request(
            "POST", f"/v1/applications/{made['id']}/withdrawal", json={"reason": "other", "form_number": "20-1404-9"}
        )
        assert left.status_code == 200, left.text


async def test_row_by_row_registers_the_good_rows_and_returns_the_others(api: RegistrationApi) -> None:
    await api.register(national_id=a_national_id(7))
    done = (await send(api, a_file(), "?mode=rows")).json()
    assert (done["rows"], done["registered"], done["already_registered"], done["refused_rows"]) == (9, 5, 1, 3)
    assert {(e["row"], e["code"]) for e in done["refused"] if e["row"] in WRONG} >= {
        (row, code) for row, (_, _, code) in WRONG.items()
    }
    assert (10, "named_twice") in {(e["row"], e["code"]) for e in done["refused"]}
    assert [each["row"] for each in done["applications"]] == [2, 4, 6, 7, 9]
    assert len(await api.applicants()) == 6
    assert (await send(api, a_file(), "?mode=rows")).json() == done, "the same under the same key"


async def test_a_whole_file_is_refused_for_one_row_even_if_only_a_record_refuses_it(api: RegistrationApi) -> None:
    await withdrawn_too_often(api, 4)
    before = len(await api.applicants())
    refused = await send(api, csv_file(range(1, 8)))
    assert refused.status_code == 422 and [(e["row"], e["code"]) for e in refused.json()["errors"]] == [
        (5, "codes_of_the_day")
    ]
    assert len(await api.applicants()) == before, "no one else was registered"
    rows = (await send(api, csv_file(range(1, 8)), "?mode=rows")).json()
    assert (rows["registered"], rows["refused_rows"]) == (6, 1)


@pytest.mark.parametrize("mode", ["whole", "rows"])
async def test_a_dry_run_returns_what_the_import_then_does_and_stores_nothing(api: RegistrationApi, mode: str) -> None:
    await api.register(national_id=a_national_id(7))
    await withdrawn_too_often(api, 4)
    for file in (a_file(), csv_file(range(1, 8)), csv_file(range(5, 9))):
        before = {subject: len(events) for subject, events in api.store.events.items()}
        rehearsed = await send(api, file, f"?mode={mode}&dry_run=true")
        assert {subject: len(events) for subject, events in api.store.events.items()} == before
        real = await send(api, file, f"?mode={mode}", key=f"key-{hash(file)}")
        assert rehearsed.status_code == real.status_code
        expected, found = rehearsed.json(), real.json()
        for body in (expected, found):
            for own in ("applications", "dry_run", "instance", "request_id"):
                body.pop(own, None)
        assert expected == found


async def test_a_dry_run_counts_those_who_are_registered_like_an_import(api: RegistrationApi) -> None:
    """Otherwise it would be the way around the limit of those who try national IDs one after another."""
    for start in (1, 31):
        await send(api, csv_file(range(start, start + 30)), key=f"key-of-{start}", id="of-2")
    assert (await send(api, csv_file(range(1, 31)), "?dry_run=true", key="key-of-dry")).status_code == 200
    more = await send(api, csv_file(range(31, 61)), "?dry_run=true", key="key-more")
    assert more.status_code == 200, "the chunk that reaches the limit is still answered"
    for path in (f"{PATH}?dry_run=true", f"{PATH}/refused"):
        blocked = await api.request("POST", path, csv=csv_file(range(1, 3)), key="key-last")
        assert blocked.status_code == 429, path


async def test_a_dry_run_of_a_registered_file_is_the_answer_to_its_key(api: RegistrationApi) -> None:
    await send(api, csv_file(range(1, 5)))
    api.advance(days=400)  # the round is closed
    again = (await send(api, csv_file(range(1, 5)), "?dry_run=true")).json()
    assert (again["registered"], again["already_registered"], again["refused_rows"]) == (4, 0, 0)
    closed = await send(api, csv_file(range(1, 5)), "?dry_run=true", key="key-other")
    assert {e["code"] for e in closed.json()["errors"]} == {"intake_closed"}


async def test_the_refused_rows_come_back_to_be_corrected_and_imported(api: RegistrationApi) -> None:
    await api.register(national_id=a_national_id(7))
    lines = a_file().splitlines()
    order = [3, 0, *range(1, 3), *range(4, len(COLUMNS))]  # the columns in an order of the person's own
    file = "\n".join(",".join(line.split(",")[n] for n in order) for line in lines)
    given = await api.request("POST", f"{PATH}/refused", csv=file)
    assert given.status_code == 200 and "attachment" in given.headers["Content-Disposition"]
    assert given.content.startswith(b"\xef\xbb\xbf") and not [r for r in await api.applicants() if r.state.codes > 1]
    (_, header), *rows = rows_of(given.content)
    assert header == [*file.splitlines()[0].split(","), REASON.fa]
    assert [cells[:-1] for _, cells in rows] == [file.splitlines()[row - 1].split(",") for row in (3, 5, 10)]
    assert all(cells[-1] for _, cells in rows) and "جنسیت" in rows[0][1][-1]
    corrected = given.text.replace("woman", "female").replace("IR-31", "IR-20")
    again = await send(api, corrected.replace(a_national_id(1), a_national_id(90)), key="key-corrected")
    assert again.json()["registered"] == 3, again.text


async def test_refused_rows_come_with_the_separator_of_the_file(api: RegistrationApi) -> None:
    """A spreadsheet in Persian writes semicolons, and opens a file with commas as a single column."""
    file = csv_file(range(1, 4)).replace(",", ";").replace("female", "x", 1)
    given = await api.request("POST", f"{PATH}/refused", csv=file)
    header, row = given.text.splitlines()
    assert header.count('";"') == len(COLUMNS) and row.count('";"') == len(COLUMNS)
    assert (await send(api, given.text.replace('"x"', '"male"'))).json()["registered"] == 1


async def test_refused_rows_of_a_workbook_come_as_a_workbook(api: RegistrationApi) -> None:
    content = as_workbook(a_file())
    given = await api.request("POST", f"{PATH}/refused", content=content, headers={"Content-Type": XLSX})
    assert given.headers["content-type"] == XLSX
    header, first, *others = sheet_of(given.content)
    assert header == [*COLUMNS, REASON.fa] and len(others) == 2
    assert all(isinstance(cell, str) for cell in first), "digits are text, so that no zero is lost"
    [written] = load_workbook(BytesIO(workbook_of([["=1+1", "007\x00"]]))).worksheets[0].iter_rows()
    assert [(cell.data_type, cell.value) for cell in written] == [("s", "=1+1"), ("s", "007")]


async def test_nothing_in_a_file_of_refused_rows_is_computed_by_a_spreadsheet(api: RegistrationApi) -> None:
    header, row = csv_file(range(1, 2)).splitlines()
    hostile = row.replace("آزمون", '"=HYPERLINK(""http://x"",""y"")"').replace("female", "@x;=1+1")
    given = await api.request("POST", f"{PATH}/refused", csv=f"{header}\n{hostile}\n")
    [written] = [cell for cell in given.text.split(",") if "HYPERLINK" in cell]
    assert written.lstrip('"').startswith("'=") and ",\"'@x;'=1+1\"," in given.text
    (_, _), (_, cells) = rows_of(given.content)
    assert '=HYPERLINK("http://x","y")' in cells and "@x;=1+1" in cells, "read again it is what it was"


async def test_many_errors_are_counted_whole_and_listed_in_part(
    api: RegistrationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "MAX_ERRORS", 5)
    done = (await send(api, csv_file(range(1, 21), sex="x"), "?mode=rows")).json()
    assert (done["refused_rows"], len(done["refused"]), done["registered"]) == (20, 5, 0)


async def test_an_unknown_mode_is_refused(api: RegistrationApi) -> None:
    assert (await send(api, csv_file(range(1, 2)), "?mode=some")).status_code == 422
    assert not await api.applicants()


@pytest.mark.parametrize("mode", ["whole", "rows"])
async def test_a_key_of_another_file_registers_no_one(api: RegistrationApi, mode: str) -> None:
    """Neither the file with a row corrected under the same key, nor one of other people: the rehearsal agrees."""
    assert (await send(api, csv_file(range(1, 3)), f"?mode={mode}")).json()["registered"] == 2
    for other in (csv_file(range(1, 9)), csv_file(range(50, 59))):
        for query in (f"?mode={mode}&dry_run=true", f"?mode={mode}"):
            refused = await send(api, other, query)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused"), refused.text
    assert len(await api.applicants()) == 2


async def test_the_people_of_an_own_file_do_not_lock_out_who_corrects_it(api: RegistrationApi) -> None:
    people = csv_file(range(1, 302)).replace("female", "x", 1)
    done = (await send(api, people, "?mode=rows", key="key-of-the-first")).json()
    assert (done["registered"], done["refused_rows"]) == (300, 1)
    again = await send(api, csv_file(range(1, 302)), "?mode=rows", key="key-of-the-second")
    assert (again.json()["registered"], again.json()["already_registered"]) == (1, 300)
