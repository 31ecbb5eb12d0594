"""The command line of the platform: `peyvand --help`. Every verb has --json, and an exit code that can be relied on.

0: done; 1: it could not be done, and the last line shows what to do; 2: wrong usage.
"""

import json
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from peyvand.commands import (
    applications,
    dead_letters,
    events,
    lifecycle,
    quotas,
    ranking,
    replay,
    restore,
    status,
)
from peyvand.commands.output import GROUP, Json, Url, to_json
from peyvand.endpoints import CommandError, find_endpoints
from peyvand.keys import command as keys
from peyvand.rebuild import command as rebuild
from peyvand.rebuild import generations
from peyvand.reconciliation import command as reconciliation
from peyvand.verify import audit


def application() -> typer.Typer:
    """Return the command with all its verbs."""
    app = typer.Typer(help="Peyvand: operate the platform from one command line.", add_completion=False, **GROUP)
    lifecycle.register(app)
    status.register(app)
    app.command("token")(print_token)
    recovering = (dead_letters, replay, reconciliation, rebuild, generations, keys, restore)
    for group in (quotas, applications, events, ranking, audit, *recovering):
        group.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `peyvand` or `python -m peyvand`; return the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = application()(given, prog_name="peyvand", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except CommandError as e:
        return _fail(e, "--json" in given)
    except typer.Exit as e:
        return e.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has gone; nothing more may be written
        return 0
    except Exception as e:
        if hasattr(e, "show") and hasattr(e, "exit_code"):  # wrong usage: click prints how
            e.show()
            return int(e.exit_code)
        raise


def print_token(
    role: Annotated[str, typer.Option(help="Such as screener; several separated by spaces.")],
    province: Annotated[str, typer.Option(help="Such as IR-20.")] = "",
    county: Annotated[str, typer.Option(help="Such as 2001.")] = "",
    lead: Annotated[str, typer.Option(help="The id of a lead enterprise.")] = "",
    sub: Annotated[str, typer.Option(help="The subject of the token; derived from the rest if not given.")] = "",
    as_json: Json = False,
    url: Url = "",
) -> None:
    """Print an access token of the development issuer, valid for five minutes."""
    from peyvand.api_client import sign_in

    public_url = find_endpoints(url).public_url
    token = sign_in(public_url, *role.split(), province=province, county=county, lead=lead, sub=sub)
    print(json.dumps({"access_token": token, "token_type": "Bearer"}) if as_json else token)


def _fail(error: CommandError, as_json: bool) -> int:
    if as_json:
        print(to_json({"error": error.message, "hint": error.hint}))
        return 1
    print(f"peyvand: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    return 1
