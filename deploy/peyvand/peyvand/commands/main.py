"""The command line of the country: `peyvand --help`; every verb has --json and says honestly how it ended.

0: done; 1: it could not be done, and the last line says what to do; 2: it was asked the wrong way.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from peyvand.commands.lifecycle import starting
from peyvand.commands.repair import nursing
from peyvand.endpoints import Addresses, Trouble, addresses

Json = Annotated[bool, typer.Option("--json", help="One JSON document (of a tail: one a line) instead of words.")]
Url = Annotated[str, typer.Option("--url", help="The country's public address, if not the one of this clone.")]
Round = Annotated[str, typer.Option("--round", help="The round, such as 1404.")]
Csv = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A CSV file, UTF-8.")]

WIDE = 160  # characters of a line where no terminal says how wide it is

_GROUP: dict[str, Any] = {"no_args_is_help": True, "pretty_exceptions_enable": False}


def application() -> typer.Typer:
    """The command with all its verbs."""
    app = typer.Typer(help="Peyvand: the country, on one command line.", add_completion=False, **_GROUP)
    starting(app)
    app.command("status")(show_status)
    app.command("token")(print_token)
    quota = typer.Typer(help="The seats of each province in a round.", **_GROUP)
    quota.command("import")(quota_import)
    quota.command("show")(quota_show)
    app.add_typer(quota, name="quota")
    imports = typer.Typer(help="Files into the country, all rows or none.", **_GROUP)
    imports.command("applications")(import_applications)
    app.add_typer(imports, name="import")
    events = typer.Typer(help="What the country says, from Kafka.", **_GROUP)
    events.command("tail")(events_tail)
    events.command("show")(events_show)
    app.add_typer(events, name="events")
    ranking = typer.Typer(help="The ranking of the provinces.", **_GROUP)
    ranking.command("show")(ranking_show)
    ranking.command("export")(ranking_export)
    app.add_typer(ranking, name="ranking")
    nursing(app, _GROUP)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """`peyvand` and `python -m peyvand`; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        done = application()(given, prog_name="peyvand", standalone_mode=False)
        return done if isinstance(done, int) else 0
    except Trouble as e:
        return _fail(e.what, e.then, "--json" in given)
    except typer.Exit as e:
        return e.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has seen enough
        return 0
    except Exception as e:
        if hasattr(e, "show") and hasattr(e, "exit_code"):  # the command line itself was wrong: click says how
            e.show()
            return int(e.exit_code)
        raise


# Looking


def show_status(as_json: Json = False, url: Url = "") -> int:
    """Does each service keep up, does something wait for a person, is every process ready? 1 where not."""
    from base.clock import file_clock
    from peyvand.commands.status import status
    from peyvand.local_cluster.workspace import here
    from peyvand.terminal.rendering import status_tables

    found = status(addresses(url), file_clock(here().clock)().at)
    tell(found, as_json, status_tables)
    return 0 if found.well else 1


def print_token(
    role: Annotated[str, typer.Option(help="Such as screener; several parted by spaces.")],
    province: Annotated[str, typer.Option(help="Such as IR-20.")] = "",
    county: Annotated[str, typer.Option(help="Such as 2001.")] = "",
    lead: Annotated[str, typer.Option(help="The id of a lead enterprise.")] = "",
    sub: Annotated[str, typer.Option(help="Whose; made from the rest where not given.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Prints an access token of the development issuer, for one hour."""
    from peyvand.api_client import sign_in

    token = sign_in(addresses(url).public_url, *role.split(), province=province, county=county, lead=lead, sub=sub)
    print(json.dumps({"access_token": token, "token_type": "Bearer"}) if as_json else token)


def events_tail(
    start: Annotated[str, typer.Option("--from", help="beginning or end of the log.")] = "end",
    service: Annotated[str, typer.Option(help="Only what this service says.")] = "",
    subject: Annotated[str, typer.Option(help="Only about this subject, such as ledger:1404/IR-20.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Stop after so many; 0 for never.")] = 0,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on as the log grows.")] = True,
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Shows events as they come, one a line, until Ctrl-C."""
    from peyvand.commands.events import cloud_event, line, tail

    if start not in ("beginning", "end"):
        raise typer.BadParameter("beginning or end", param_hint="--from")
    tail(
        addresses(url).needs_kafka(),
        lambda each: print(_json(cloud_event(each)) if as_json else line(each), flush=True),
        beginning=start == "beginning",
        follow=follow,
        service=service,
        subject=subject,
        limit=limit,
    )


def events_show(
    event: Annotated[str, typer.Argument(help="service/subject/sequence, as tail shows them.")],
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Shows one event whole, and where the log holds it."""
    from peyvand.commands.events import cloud_event, find

    found = cloud_event(find(addresses(url).needs_kafka(), event))
    print(_json(found) if as_json else json.dumps(found, ensure_ascii=False, indent=2))


def ranking_show(
    table: Annotated[str, typer.Option(help="composite, or a stage: 1, 2, 3.")] = "composite",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Shows one of the four tables, with numerators, denominators, as-of and event count."""
    from peyvand.api_client import Client
    from peyvand.commands.ranking import table as fetch
    from peyvand.terminal.rendering import ranking_table

    tell(fetch(Client(addresses(url).public_url), table), as_json, ranking_table)


def ranking_export(
    to: Annotated[Path, typer.Option(help="The folder that gets the files.")] = Path("."),
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Writes the four tables as CSV files."""
    from peyvand.api_client import Client
    from peyvand.commands.ranking import export

    files = export(Client(addresses(url).public_url), to)
    tell([str(each) for each in files], as_json, lambda names: "\n".join(names))


# Files in


def quota_import(file: Csv, round_id: Round, as_json: Json = False, url: Url = "") -> None:
    """Sets quotas from `province,name_fa,quota`; a row whose code and name disagree refuses the whole file."""
    from peyvand.commands.quotas import import_quotas

    with _waiting(f"sending {file.name}", as_json):
        done = import_quotas(_client(url, "ministry_admin"), file, round_id)
    tell(done, as_json, lambda told: f"the quotas of round {round_id} are set: {_counts(told)}")


def quota_show(round_id: Round, as_json: Json = False, url: Url = "") -> None:
    """Shows quota = available + held + admitted, and who waits, by province."""
    from peyvand.commands.quotas import quotas
    from peyvand.terminal.rendering import quota_table

    tell(quotas(_client(url, "ministry_admin"), round_id), as_json, quota_table)


def import_applications(
    file: Csv,
    round_id: Round,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the rows here and send nothing.")] = False,
    province: Annotated[str, typer.Option(help="Import as the manager of this province.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Registers the applicants of a file: every row valid, else none; the same file again registers nobody twice."""
    from peyvand.commands.applications import register, rehearse
    from peyvand.commands.quotas import contents
    from peyvand.terminal.rendering import import_lines, rehearsal_lines

    if dry_run:
        checked = rehearse(contents(file), _today())
        tell(checked, as_json, rehearsal_lines)
        return 1 if checked.faults else 0
    client = _client(url, *(("manager",) if province else ("ministry_admin",)), province=province)
    with _waiting(f"registering the rows of {file.name}", as_json) as say:
        done = register(client, file, round_id, say)
    tell(done, as_json, import_lines)
    return 1 if done.get("refused") else 0


# How it is told


def _client(url: str, *roles: str, province: str = "") -> Any:
    from peyvand.api_client import Client, sign_in

    at: Addresses = addresses(url)
    return Client(at.public_url, sign_in(at.public_url, *roles, province=province))


def _today() -> Any:
    from base.clock import file_clock
    from peyvand.local_cluster.workspace import here
    from programme.calendar import tehran_day

    return tehran_day(file_clock(here().clock)().at)


def tell(value: Any, as_json: bool, words: Any) -> None:
    """Prints a value as JSON, or in the words and tables that `words` makes of it."""
    if as_json:
        print(_json(value))
        return
    told = words(value)
    if isinstance(told, str):
        print(told)
        return
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    for each in told:
        console.print(each)


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _counts(told: Any) -> str:
    if not isinstance(told, Mapping):
        return "done"
    return ", ".join(
        f"{len(value) if isinstance(value, list) else value} {name.replace('_', ' ')}"
        for name, value in told.items()
        if isinstance(value, int | list)
    )


@contextmanager
def _waiting(what: str, as_json: bool) -> Iterator[Any]:
    """A sign of life on a terminal while something long goes on; yields what changes its words."""
    if as_json or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)
        yield lambda words: progress.update(task, description=words)


def _fail(what: str, then: str, as_json: bool) -> int:
    if as_json:
        print(_json({"error": what, "then": then}))
    else:
        print(f"peyvand: {what}", file=sys.stderr)
        if then:
            print(f"  {then}", file=sys.stderr)
    return 1
