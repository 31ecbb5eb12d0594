"""The command line's words and tables."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from programme.reference import provinces

if TYPE_CHECKING:
    from peyvand.commands.applications import Rehearsal
    from peyvand.commands.dead_letters import Found, Mended
    from peyvand.commands.status import Status

FAULTS_SHOWN = 50
LETTERS_SHOWN = 20
COUNTS = ("quota", "registered", "screened", "admitted", "identified", "connected", "sustained")


def status_tables(found: "Status") -> list[Any]:
    """What waits in each service, what each process says, and the verdict."""
    names = ("unsent", "oldest s", "lag", "moves", "early", "oldest s", "faulty", "oldest s", "unreadable", "overdue s")
    services = _table("service", *names)
    for s in found.services:
        services.add_row(
            s.service,
            f"{s.unsent:,}",
            f"{s.unsent_oldest_seconds:,.1f}",
            f"{s.lag:,}",
            "[red]no[/red]" if s.stuck else "yes" if s.moved else "-",
            f"{s.parked_early:,}",
            f"{s.parked_early_oldest_seconds:,.1f}",
            f"{s.parked_faulty:,}",
            f"{s.parked_faulty_oldest_seconds:,.1f}",
            f"{s.unreadable:,}",
            f"{s.overdue_oldest_seconds:,.1f}",
        )
    columns = ("process", "pid", "port", "ready", "restarts", "p50 s", "p95 s", "why not")
    processes = _table(*columns, left=("process", "why not"))
    for p in found.processes:
        processes.add_row(
            p.name,
            str(p.pid or "-"),
            str(p.port or "-"),
            "yes" if p.ready else "[red]no[/red]",
            str(p.restarts),
            _seconds(p.half_handled_within),
            _seconds(p.handled_within),
            "; ".join(p.why),
        )
    shown: list[Any] = [found.public_url]
    shown += [services] if found.services else []
    shown += [processes] if found.processes else []
    half, most = found.event_to_ranking
    if most is not None:
        shown.append(f"event to ranking: p50 {_seconds(half)} s, p95 {_seconds(most)} s")
    shown += [f"[red]not asked[/red] {each}" for each in found.troubles]
    for need in found.needs:
        line = Text(f"{need.where}: {need.why}\n  {need.command}   (deploy/runbooks/{need.runbook})")
        shown.append(line)
    return [*shown, "all is well" if found.well else "[red]something needs a person[/red]: see docs/operations.md"]


def dead_letter_groups(found: Sequence[Mapping[str, Any]]) -> list[Any]:
    """One row a group: where, what, how many, since when, and whose fault in which place of the code."""
    if not found:
        return ["nothing waits for a person"]
    table = _table(
        "service", "fingerprint", "letters", "behind", "since", "source", "type", "cause",
        left=("service", "fingerprint", "since", "source", "type", "cause"),
    )  # fmt: skip
    for each in found:
        kind = str(each["type"]).removeprefix("ir.peyvand.") or "-"
        where = f" in {each['where']}" if each["where"] else ""
        cause = f"{'unreadable: ' if each['kind'] == 'unreadable' else ''}{each['fault']}{where}"
        row = (each["service"], each["fingerprint"], f"{each['letters']:,}", f"{each['behind']:,}", _since(each))
        table.add_row(*row, each["source"], kind, Text(cause))
    return [table, "next: `peyvand dead-letters show FINGERPRINT`"]


def dead_letters(found: Sequence["Found"]) -> list[Any]:
    """Each letter with its event and its cause, and what mends them all."""
    lines: list[Any] = []
    for service in found:
        for each in service.letters[:LETTERS_SHOWN]:
            where = f" in {each['where']}" if each["where"] else ""
            lines += [
                f"{each['id']}  (at {service.service}, {each['kind']}, since {_since(each)}, {each['behind']} behind)",
                f"  cause: {each['fault']}{where}",
                f"  event: {json.dumps(each['event'], ensure_ascii=False)}"
                if each["event"]
                else f"  event: cannot be shown ({each['bytes']} bytes)",
            ]
        if len(service.letters) > LETTERS_SHOWN:
            lines.append(
                f"... and {len(service.letters) - LETTERS_SHOWN:,} more at {service.service}; --json shows all"
            )
    prints = sorted({str(each["fingerprint"]) for service in found for each in service.letters})
    for fingerprint in prints:
        lines.append(f"mended in the code and deployed?  peyvand dead-letters retry {fingerprint} --dry-run")
        lines.append(f"never to be handled?  peyvand dead-letters discard {fingerprint} --reason '...' --who ID")
    return [Text(line) if isinstance(line, str) else line for line in lines]


def mended_lines(done: "Mended") -> list[Any]:
    """What became of letters, or would."""
    would = "would be " if done.dry_run else ""
    verb = "discarded" if done.action == "discard" else "retried"
    lines = [f"{done.letters:,} letters {would}{verb}, {done.drained:,} events {would}handled"]
    if done.gone:
        lines.append(f"{done.gone:,} were no dead letters any more")
    if done.left:
        lines.append(f"{done.left:,} {'would meet' if done.dry_run else 'meet'} a fault still:")
        lines += [f"  {each}" for each in done.faults]
    return [Text(line) for line in lines]


def quota_table(items: Sequence[Mapping[str, Any]]) -> list[Any]:
    """One row a province."""
    names = ("quota", "available", "held", "admitted", "waiting")
    table = _table("province", "name", *names, left=("province", "name"))
    known = provinces()
    for each in items:
        code = str(each["province"])
        name = known[code].name_en if code in known else ""
        table.add_row(code, name, *(f"{each.get(n, 0):,}" for n in names))
    return [table] if items else ["no quota has been set in this round"]


def ranking_table(found: Mapping[str, Any]) -> list[Any]:
    """One row a province, in the order of the ranks, with what the ranks are made of."""
    table = _table("rank", "province", "name", "index", *COUNTS, left=("province", "name"))
    known = provinces()
    for row in found["rows"]:
        code, counts = str(row["province"]), row.get("counts", {})
        table.add_row(
            "-" if row.get("rank") is None else str(row["rank"]),
            code,
            known[code].name_en if code in known else "",
            _decimal(row.get("index")),
            *(f"{counts.get(name, 0):,}" for name in COUNTS),
        )
    return [table, f"as of {found.get('as_of', '-')}, {found.get('events', 0):,} events"]


def rehearsal_lines(checked: "Rehearsal") -> list[Any]:
    """The faults row by row, then how many there are; the values themselves are not repeated."""
    faults = checked.faults
    lines = [f"row {each.row}, {each.field}: {each.detail} · {each.detail_fa}" for each in faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"... and {len(faults) - FAULTS_SHOWN:,} more; --json shows all")
    rows = len({each.row for each in faults})
    last = f"{checked.rows:,} rows, {rows:,} with a fault; nothing was sent"
    return [*lines, last if faults else f"{checked.rows:,} rows, none with a fault; nothing was sent"]


def import_lines(done: Mapping[str, Any]) -> list[Any]:
    """The rows that were refused, then what became of all of them; nobody's tracking code is shown."""
    refused = done.get("refused", [])
    lines = [f"row {each['row']}, {each['field']}: {each['detail']}" for each in refused[:FAULTS_SHOWN]]
    if len(refused) > FAULTS_SHOWN:
        lines.append(f"... and {len(refused) - FAULTS_SHOWN:,} more; --json shows all")
    counts = ", ".join(f"{done.get(name, 0):,} {name}" for name in ("rows", "registered", "repeated"))
    return [*lines, f"{counts}, {len(refused):,} refused"]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _since(each: Mapping[str, Any]) -> str:
    return str(each["since"])[:19].replace("T", " ")


def _decimal(value: Any) -> str:
    try:
        return f"{float(value):.2f}"
    except (TypeError, ValueError):
        return "-"


def _table(*columns: str, left: Iterable[str] = ("service",)) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name != "why not")
    return table
