"""`peyvand reconcile`: show the last comparison of every consumer with the owners of its events, or make one now."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from contracts.subjects import PARTITIONS
from contracts.topics import TOPICS
from peyvand.commands.output import Json, Url, number_of, print_result, signed_in_client, spinner
from peyvand.endpoints import CommandError
from peyvand.local_cluster.topology import SERVICES, prefix

if TYPE_CHECKING:
    from rich.table import Table

    from peyvand.api_client import ApiClient

TIMEOUT = 600.0  # seconds for a comparison of everything
EMPTY = b"{}"


class ReconciledSource(msgspec.Struct, frozen=True, kw_only=True):
    """What one consumer knows about its agreement with one owner."""

    service: str
    source: str
    partitions: int  # of 32 that were ever compared
    since: str = ""  # the oldest of the last comparisons
    subjects: int = 0
    repaired: int = 0  # events, ever
    repaired_at: str = ""
    disagreements: int = 0
    examples: tuple[Mapping[str, Any], ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Return whether everything was compared and nothing is left to an operator."""
        return self.partitions == PARTITIONS and not self.disagreements and not self.failures


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("reconcile")(reconcile)


def reconcile(
    service: Annotated[str, typer.Option(help="Only this consumer.")] = "",
    now: Annotated[bool, typer.Option("--now", help="Compare everything now, and wait for it.")] = False,
    as_json: Json = False,
    url: Url = "",
) -> int:
    """Show whether consumers have handled what the owners hold; exit code 1 unless all was compared and agrees."""
    if service and service not in SERVICES:
        raise CommandError(f"there is no service {service}", f"one of {', '.join(SERVICES)}")
    client = signed_in_client(url, "operator")
    services = [each for each in SERVICES if service in ("", each)]
    if now:
        with spinner("comparing", as_json) as show:
            compare_now(client, services, show)
    found = [each for name in services for each in summaries(name, client.get(api_path(name)))]
    print_result(found, as_json, tables)
    return 0 if all(each.agrees for each in found) else 1


def api_path(service: str) -> str:
    """Return the path of a service's comparisons."""
    return f"{prefix(service)}/v1/reconciliation"


def compare_now(client: "ApiClient", services: Iterable[str], show: Any, timeout: float = TIMEOUT) -> None:
    """Request a comparison of everything and wait until it is made. Raise CommandError."""
    since = {each: client.post(api_path(each), EMPTY, "application/json").json()["requested_at"] for each in services}
    deadline = time.monotonic() + timeout
    while left := sum(len(_before(client, each, at)) for each, at in since.items()):
        show(f"{number_of(left, 'comparison')} left")
        if time.monotonic() > deadline:
            raise CommandError(f"{number_of(left, 'comparison')} not made in time", "`peyvand reconcile` shows why")
        time.sleep(1)


def _before(client: "ApiClient", service: str, at: str) -> list[tuple[str, int]]:
    """Return the comparisons that neither were made nor have failed since; times of one format sort as texts do."""
    newest = {
        (d["source"], d["partition"]): max(d["at"] or "", d["failed_at"] or "") for d in client.get(api_path(service))
    }
    wanted = [(source, partition) for source in sources_of(service) for partition in range(PARTITIONS)]
    return [each for each in wanted if newest.get(each, "") < at]


def sources_of(service: str) -> list[str]:
    """Return the owners of the events that a service consumes."""
    return [topic.producer for topic in TOPICS if service in topic.consumers]


def summaries(service: str, comparisons: Sequence[Mapping[str, Any]]) -> list[ReconciledSource]:
    """Return the comparisons of a service by source."""
    found = []
    for source in sources_of(service):
        of_source = [each for each in comparisons if each["source"] == source]
        compared = [each for each in of_source if each["at"]]
        found.append(
            ReconciledSource(
                service=service,
                source=source,
                partitions=len(compared),
                since=min((each["at"] for each in compared), default=""),
                subjects=sum(each["subjects"] for each in of_source),
                repaired=sum(each["repaired"] for each in of_source),
                repaired_at=max((each["repaired_at"] or "" for each in of_source), default=""),
                disagreements=sum(each["disagreement_count"] for each in of_source),
                examples=tuple(d for each in of_source for d in each["disagreements"])[:20],
                failures=tuple(dict.fromkeys(each["failure"] for each in of_source if each["failure"]))[:5],
            )
        )
    return found


def tables(found: Sequence[ReconciledSource]) -> list["Table | str"]:
    """Render the summaries, and what an operator must decide on."""
    from rich.table import Table

    table = Table("consumer", "owner", "partitions", "compared since", "subjects", "repaired", "disagree", box=None)
    for each in found:
        repaired = f"{each.repaired:,}" + (f" (last {each.repaired_at[:19]})" if each.repaired else "")
        cells = f"{each.partitions} of {PARTITIONS}", each.since[:19], f"{each.subjects:,}", repaired
        table.add_row(each.service, each.source, *cells, f"{each.disagreements:,}")
    lines: list[Table | str] = [table]
    for each in found:
        lines += [f"{each.service} cannot be compared with {each.source}: {why}" for why in each.failures]
        for d in each.examples:
            what = (
                "the owner holds" if d["kind"] == "owner_behind" else "which differ from those of the owner, who holds"
            )
            lines.append(
                f"{d['subject']}: {each.service} has handled {d['handled']} events of {each.source}, {what} {d['held']}"
            )
    return lines
