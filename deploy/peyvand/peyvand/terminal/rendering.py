"""Tables and lines of the command line, from the results of its verbs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from programme.reference import provinces

if TYPE_CHECKING:
    from peyvand.commands.dead_letters import ActionResult, ServiceLetters
    from peyvand.commands.status import Status

FAULTS_SHOWN = 50
LETTERS_SHOWN = 20
WRAPPED = ("reasons", "cause")  # columns of sentences: only these may become narrower than their cells
COUNTS = ("quota", "registered", "screened", "admitted", "identified", "connected", "sustained")


def status_tables(found: "Status") -> list[Any]:
    """Return the tables of services and processes, the required actions, and the verdict."""
    names = ("pending", "oldest s", "lag", "moves", "early", "oldest s", "dead", "oldest s", "undecodable", "overdue s")
    services = _table("service", *names)
    for s in found.services:
        services.add_row(
            s.service,
            f"{s.pending:,}",
            f"{s.pending_oldest_seconds:,.1f}",
            f"{s.lag:,}",
            "[red]no[/red]" if s.stuck else "yes" if s.consumed else "-",
            f"{s.early:,}",
            f"{s.early_oldest_seconds:,.1f}",
            f"{s.dead_letters:,}",
            f"{s.dead_letters_oldest_seconds:,.1f}",
            f"{s.undecodable:,}",
            f"{s.overdue_oldest_seconds:,.1f}",
        )
    columns = ("process", "pid", "port", "ready", "restarts", "p50 s", "p95 s", "reasons")
    processes = _table(*columns, left=("process", "reasons"))
    for p in found.processes:
        processes.add_row(
            p.name,
            str(p.pid or "-"),
            str(p.port or "-"),
            "yes" if p.ready else "[red]no[/red]",
            str(p.restarts),
            _seconds(p.handled_p50),
            _seconds(p.handled_p95),
            "; ".join(each.text for each in p.reasons),
        )
    shown: list[Any] = [found.public_url]
    shown += [services] if found.services else []
    shown += [processes] if found.processes else []
    p50, p95 = found.event_to_ranking
    if p95 is not None:
        shown.append(f"event to ranking: p50 {_seconds(p50)} s, p95 {_seconds(p95)} s")
    shown += [f"[red]not checked[/red] {each}" for each in found.errors]
    for each in found.actions:
        shown.append(Text(f"{each.where}: {each.why}\n  {each.command}   (deploy/runbooks/{each.runbook})"))
    return [*shown, "all is well" if found.healthy else "[red]action is required[/red]: see docs/operations.md"]


def dead_letter_groups(found: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return a table with one row a group: fingerprint, reason, how many, since when, cause, place in the code."""
    if not found:
        return ["there are no dead letters"]
    table = _table(
        "fingerprint", "service", "reason", "letters", "behind", "since", "source", "type", "cause",
        left=("fingerprint", "service", "reason", "since", "source", "type", "cause"),
    )  # fmt: skip
    for each in found:
        kind = str(each["type"]).removeprefix("ir.peyvand.") or "-"
        counts = (f"{each['letters']:,}", f"{each['behind']:,}")
        row = (each["fingerprint"], each["service"], each["reason"], *counts, _since(each), each["source"], kind)
        table.add_row(*(Text(str(cell)) for cell in row), Text(_cause(each)))
    return [table, "next: `peyvand dead-letters show FINGERPRINT`"]


def dead_letters(found: Sequence["ServiceLetters"]) -> list[Any]:
    """Return each letter with its reason, its event and its cause, and the commands that resolve them."""
    lines: list[Any] = []
    for service in found:
        for each in service.letters[:LETTERS_SHOWN]:
            lines += [
                f"{each['id']}  (at {service.service}, since {_since(each)}, {each['behind']} behind)",
                f"  reason: {each['reason']}",
                f"  cause: {_cause(each)}",
                f"  event: {_event(each)}",
            ]
            if each["next"]:
                more = f" and {n:,} more" if (n := each["behind"] - len(each["next"])) else ""
                lines.append(f"  behind it, each listed when its turn comes: {', '.join(each['next'])}{more}")
        if len(service.letters) > LETTERS_SHOWN:
            lines.append(
                f"... and {len(service.letters) - LETTERS_SHOWN:,} more at {service.service}; --json shows all"
            )
    reasons = {str(each["fingerprint"]): each["reason"] for service in found for each in service.letters}
    for fingerprint, reason in sorted(reasons.items()):
        never = "a forgery? the real event then takes its place" if reason == "invalid" else "never to be handled?"
        lines.append(f"fixed in the code and deployed?  peyvand dead-letters retry {fingerprint} --dry-run")
        lines.append(f"{never}  peyvand dead-letters discard {fingerprint} --reason '...' --who ID")
    return [Text(line) if isinstance(line, str) else line for line in lines]


def action_lines(result: "ActionResult") -> list[Any]:
    """Return the result of a retry or discard, or of its dry run."""
    would = "would be " if result.dry_run else ""
    verb = "discarded" if result.action == "discard" else "retried"
    lines = [f"{result.letters:,} letters {would}{verb}, {result.drained:,} events {would}handled"]
    if result.gone:
        lines.append(f"{result.gone:,} were no dead letters any more")
    if result.left:
        lines.append(f"{result.left:,} {'would still meet' if result.dry_run else 'still meet'} a fault:")
        lines += [f"  {each}" for each in result.faults]
    elif result.faults:
        lines.append("what is behind them waits for an operator now: `peyvand dead-letters list`")
        lines += [f"  {each}" for each in result.faults]
    return [Text(line) for line in lines]


def quota_table(items: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return a table with one row a province."""
    names = ("quota", "available", "held", "admitted", "waiting")
    table = _table("province", "name", *names, left=("province", "name"))
    known = provinces()
    for each in items:
        code = str(each["province"])
        name = known[code].name_en if code in known else ""
        table.add_row(code, name, *(f"{each.get(n, 0):,}" for n in names))
    return [table] if items else ["no quota has been set in this round"]


def ranking_table(found: Mapping[str, Any]) -> list[Any]:
    """Return a table with one row a province, in the order of the ranks, with the counts behind them."""
    table = _table("rank", "province", "name", "value", *COUNTS, left=("province", "name"))
    known = provinces()
    for row in found["rows"]:
        code, counts = str(row["province"]), row.get("counts", {})
        table.add_row(
            "-" if row.get("rank") is None else str(row["rank"]),
            code,
            known[code].name_en if code in known else "",
            row["shown"],  # with as many decimals as distinguish the rows
            *(f"{counts.get(name, 0):,}" for name in COUNTS),
        )
    return [table, f"as of {found.get('as_of', '-')}, {found.get('events', 0):,} events"]


def import_lines(result: Mapping[str, Any]) -> list[Any]:
    """Return the refused rows, then the totals; no tracking code is shown."""
    refused = result.get("refused", [])
    lines = [f"row {each['row']}, {each['field']}: {each['detail']}" for each in refused[:FAULTS_SHOWN]]
    if len(refused) > FAULTS_SHOWN:
        lines.append(f"... and {len(refused) - FAULTS_SHOWN:,} more; --json shows all, --refused writes them to a file")
    done = "would be registered; nothing was stored" if result.get("dry_run") else "registered"
    known = f", {n:,} already registered" if (n := result.get("already_registered", 0)) else ""
    number = result.get("refused_rows", len(refused))
    return [*lines, f"{result['rows']:,} rows, {number:,} refused{known}, {result['registered']:,} {done}"]


def _cause(each: Mapping[str, Any]) -> str:
    where = f" in {each['where']}" if each["where"] else ""
    return f"{each['fault']}{where}" or "-"


def _event(each: Mapping[str, Any]) -> str:
    if each["event"]:
        return json.dumps(each["event"], ensure_ascii=False)
    if each["kind"] == "parked" and each["bytes"]:
        return f"not shown without access to Kafka ({each['bytes']:,} bytes): peyvand events show {each['id']}"
    return f"not shown ({each['bytes']:,} bytes)" if each["bytes"] else "missing"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _since(each: Mapping[str, Any]) -> str:
    return str(each["since"])[:19].replace("T", " ")


def _table(*columns: str, left: Iterable[str] = ("service",)) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name not in WRAPPED)
    return table
