"""The round's quotas from and to a file: `province,name_fa,quota`, all rows or none."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from peyvand.api_client import Client, Refusal
from peyvand.endpoints import Trouble


def import_quotas(client: Client, file: Path, round_id: str) -> Any:
    """Sets the quotas in this file; what the country answers. Raises Trouble, with the rows that are refused.

    Each time under a new key: a file may be given again after another one has changed what it set.
    """
    try:
        return client.post(
            f"/registration/v1/rounds/{round_id}/quotas/import", contents(file), "text/csv", key=uuid4().hex
        ).json()
    except Refusal as e:
        raise rows_refused(e) from e


def quotas(client: Client, round_id: str) -> list[dict[str, Any]]:
    """Quota, available, held, admitted and waiting of each province. Raises Trouble."""
    return list(client.get(f"/registration/v1/rounds/{round_id}/quotas")["items"])


def contents(file: Path) -> bytes:
    """The file's bytes. Raises Trouble."""
    try:
        return file.read_bytes()
    except OSError as e:
        raise Trouble(f"{file} cannot be read: {e.strerror}", "give the path of a CSV file") from e


def rows_refused(e: Refusal) -> Trouble:
    """The refusal with each row it names, one a line, where it names rows."""
    rows = e.problem.get("errors") or e.problem.get("refused") or ()
    told = [_row(each) for each in rows if isinstance(each, dict)]
    if not told:
        return e
    return Trouble("\n".join([e.what, *told]), "nothing was stored: correct these rows and give the file again")


def _row(each: dict[str, Any]) -> str:
    where = f"row {each['row']}, " if "row" in each else ""
    return f"  {where}{each.get('field') or '-'}: {each.get('detail') or each.get('code')}"
