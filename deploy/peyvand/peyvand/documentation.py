"""Write the generated tables of docs/operations.md and docs/permissions.md: `python -m peyvand.documentation`."""

import re
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from contracts.codes import ROLES
from peyvand.local_cluster.topology import SERVICES
from peyvand.local_cluster.workspace import ROOT
from security.permissions import ROLE_SCOPES, STANDS_FOR, TABLE

OPERATIONS = ROOT / "docs" / "operations.md"
PAGES = (OPERATIONS, ROOT / "docs" / "permissions.md")
KINDS = {"counter": "counter", "gauge": "gauge", "histogram": "histogram"}


def metrics_table() -> str:
    """Return a table of all metrics: meaning, and what to do."""
    rows = ["| Metric | Labels | Meaning, and what to do |", "| --- | --- | --- |"]
    for metric in metrics():
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(metric._labelnames) or "none"
        rows.append(f"| `{name}`<br>{KINDS[metric._type]} | {labels} | {metric._documentation} |")
    return "\n".join(rows)


def metrics() -> list[Any]:
    """Return the metrics of `observability.metrics` and of each service, in the order of their modules."""
    from prometheus_client.metrics import MetricWrapperBase

    names = [
        "observability.metrics",
        *(f"{service}.metrics" for service in SERVICES if find_spec(f"{service}.metrics")),
    ]
    modules = [import_module(name) for name in names]
    return [each for module in modules for each in vars(module).values() if isinstance(each, MetricWrapperBase)]


def roles_settings_table() -> str:
    """Return a table of the settings of every role; the last ones are registration's only."""
    from base.settings import table
    from registration.settings import RegistrationSettings

    return table(RegistrationSettings)


def archive_settings_table() -> str:
    """Return a table of the settings that only an archive has."""
    from base.settings import ProcessSettings, table
    from peyvand.archive.settings import ArchiveSettings

    common = {f"| `PEYVAND_{name.upper()}` " for name in ProcessSettings.model_fields}
    return "\n".join(row for row in table(ArchiveSettings).splitlines() if not row.startswith(tuple(common)))


def gateway_settings_table() -> str:
    """Return a table of the settings of the gateway."""
    from peyvand.gateway.settings import GatewaySettings

    rows = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in GatewaySettings.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`" if field.default != "" else "none"
        rows.append(f"| `PEYVAND_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def alerts_table(folder: Path = ROOT / "deploy") -> str:
    """Return a table of all alerts with their runbooks."""
    text = (folder / "prometheus" / "alerts.yaml").read_text("utf-8")
    rows = ["| Alert | Severity | Runbook |", "| --- | --- | --- |"]
    for rule in text.split("- alert: ")[1:]:
        severity, runbook = re.findall(r"severity: (\w+)", rule)[0], re.findall(r"runbook: (\S+)", rule)[0]
        title = (folder.parent / runbook).read_text("utf-8").splitlines()[0].removeprefix("# ")
        rows.append(f"| {rule.splitlines()[0]} | {severity} | [{title}](../{runbook}) |")
    return "\n".join(rows)


def permissions_table() -> str:
    """Return the permission table: actions, and the roles that may do something."""
    roles = [role for role in ROLES if role in ROLE_SCOPES]
    rows = [f"| Action | {' | '.join(roles)} |", f"| --- |{' --- |' * len(roles)}"]
    rows += [f"| `{name}` | {' | '.join(cells.get(role, '–') for role in roles)} |" for name, cells in TABLE.items()]
    return "\n".join(rows)


def offices_table() -> str:
    """Return a table of the offices that have no role of their own."""
    return "\n".join(["| Office | Role |", "| --- | --- |", *(f"| {a} | `{b}` |" for a, b in STANDS_FOR.items())])


TABLES: Mapping[str, Callable[[], str]] = {
    "metrics": metrics_table,
    "settings of the roles": roles_settings_table,
    "settings of the gateway": gateway_settings_table,
    "settings of the archive": archive_settings_table,
    "alerts": alerts_table,
    "permissions": permissions_table,
    "offices": offices_table,
}


def with_tables(text: str) -> str:
    """Return the page with each table between its marks generated. Raise KeyError for a mark without a table."""

    def generate(mark: re.Match[str]) -> str:
        return f"<!-- {mark[1]} -->\n{TABLES[mark[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- ([a-z ]+) -->\n.*?<!-- end -->", generate, text, flags=re.DOTALL)


def main() -> int:
    """Write the tables into the pages; return the exit code."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
