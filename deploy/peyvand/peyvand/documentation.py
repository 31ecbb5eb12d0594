"""The tables of docs/operations.md that are made from the code: `python -m peyvand.documentation` writes them anew."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peyvand.local_cluster.workspace import ROOT

OPERATIONS = ROOT / "docs" / "operations.md"
KINDS = {"counter": "counter", "gauge": "gauge", "histogram": "histogram"}


def metrics_table() -> str:
    """Every metric there is: what it means, and what to do when it moves."""
    rows = ["| Metric | Labels | What it means, and what to do |", "| --- | --- | --- |"]
    for metric in metrics():
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(metric._labelnames) or "none"
        rows.append(f"| `{name}`<br>{KINDS[metric._type]} | {labels} | {metric._documentation} |")
    return "\n".join(rows)


def metrics() -> list[Any]:
    """The metrics of `observability.metrics`, in the order of that file."""
    from prometheus_client.metrics import MetricWrapperBase

    from observability import metrics as literals

    return [each for each in vars(literals).values() if isinstance(each, MetricWrapperBase)]


def roles_settings_table() -> str:
    """What every role of the four services is told; the last four only registration, which keeps personal data."""
    from base.settings import table
    from registration.settings import KeySettings

    return table(KeySettings)


def door_settings_table() -> str:
    """What the front door of development is told."""
    from peyvand.gateway.settings import DoorSettings

    rows = ["| Variable | Default | What it is |", "| --- | --- | --- |"]
    for name, field in DoorSettings.model_fields.items():
        default = "required" if field.is_required() else f"`{field.default}`" if field.default != "" else "none"
        rows.append(f"| `PEYVAND_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def alerts_table(folder: Path = ROOT / "deploy") -> str:
    """Every alert with its runbook."""
    text = (folder / "prometheus" / "alerts.yaml").read_text("utf-8")
    rows = ["| Alert | Severity | Runbook |", "| --- | --- | --- |"]
    for rule in text.split("- alert: ")[1:]:
        severity, runbook = re.findall(r"severity: (\w+)", rule)[0], re.findall(r"runbook: (\S+)", rule)[0]
        title = (folder.parent / runbook).read_text("utf-8").splitlines()[0].removeprefix("# ")
        rows.append(f"| {rule.splitlines()[0]} | {severity} | [{title}](../{runbook}) |")
    return "\n".join(rows)


TABLES: Mapping[str, Callable[[], str]] = {
    "metrics": metrics_table,
    "settings of the roles": roles_settings_table,
    "settings of the front door": door_settings_table,
    "alerts": alerts_table,
}


def filled(text: str) -> str:
    """The page with each table between its marks as the code has it. Raises KeyError where a mark has no table."""

    def fill(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{TABLES[found[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- ([a-z ]+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL)


def main() -> int:
    """Writes the tables into the page."""
    OPERATIONS.write_text(filled(OPERATIONS.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
