"""Monitoring: panels and alerts query existing metrics, alerts are tested and have a runbook, docs match the code."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from peyvand.documentation import OPERATIONS, metrics, with_tables
from peyvand.local_cluster.processes import ProcessIdentity
from peyvand.local_cluster.prometheus import configuration
from peyvand.local_cluster.topology import ClusterState
from peyvand.local_cluster.workspace import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
STATE = ClusterState(
    ProcessIdentity(1, 2, "b"),
    public_url="http://127.0.0.1:8080",
    ports={"gateway": 8080, "kafka": 9092, "market-api": 8103, "market-worker": 8113},
)
METRIC = re.compile(r"\bpeyvand_\w+")
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH: not run")


def _series() -> dict[str, set[str]]:
    """Return the names of all series with their labels."""
    series: dict[str, set[str]] = {}
    for metric in metrics():
        labels = set(metric._labelnames)
        match metric._type:
            case "counter":
                series[f"{metric._name}_total"] = labels
            case "histogram":
                series |= {f"{metric._name}_bucket": labels | {"le"}, f"{metric._name}_count": labels}
                series[f"{metric._name}_sum"] = labels
            case _:
                series[metric._name] = labels
    return series


def _faults(expression: str) -> list[str]:
    """Return the metrics and labels in a PromQL expression that do not exist."""
    series, queried = _series(), METRIC.findall(expression)
    faults = [f"no metric {name}" for name in queried if name not in series]
    for name, selected in re.findall(r"\b(peyvand_\w+)\{([^}]*)\}", expression):
        labels = re.findall(r"(\w+)\s*[=!]", selected)
        faults += [f"{name} has no label {label}" for label in labels if label not in series.get(name, set())]
    known = set().union(*(series.get(name, set()) for name in queried), {"job", "process"})
    grouped = [label.strip() for each in re.findall(r"\bby \(([^)]*)\)", expression) for label in each.split(",")]
    return faults + [f"no metric here has the label {label}" for label in grouped if label not in known]


def _queries(path: Path) -> list[tuple[str, str]]:
    """Return (title, expression) of each query of a dashboard."""
    dashboard = json.loads(path.read_text("utf-8"))
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_there_is_a_dashboard() -> None:
    assert DASHBOARDS and all(len(_queries(each)) > 10 for each in DASHBOARDS)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_panel_queries_an_existing_metric(path: Path) -> None:
    assert [(title, fault) for title, expression in _queries(path) for fault in _faults(expression)] == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_panel_has_a_description_and_a_position(path: Path) -> None:
    panels = json.loads(path.read_text("utf-8"))["panels"]
    assert all(panel["description"] and panel["targets"] for panel in panels if panel["type"] != "row")
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for grid in (panel["gridPos"] for panel in panels):
        columns, rows = range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken and max(columns) < 24
        taken |= cells


def test_dashboards_use_the_provisioned_data_source() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"][0]
    for path in DASHBOARDS:
        panels = json.loads(path.read_text("utf-8"))["panels"]
        assert {panel["datasource"]["uid"] for panel in panels if "datasource" in panel} == {source["uid"]}


def _alerts() -> list[dict[str, Any]]:
    alerts = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text("utf-8"))
    return [rule for group in alerts["groups"] for rule in group["rules"]]


def test_every_alert_queries_an_existing_metric_and_has_a_runbook() -> None:
    assert [(rule["alert"], fault) for rule in _alerts() for fault in _faults(rule["expr"])] == []
    for rule in _alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert (ROOT / rule["annotations"]["runbook"]).is_file()


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(peyvand_wishes)", "no metric peyvand_wishes"),
        ("peyvand_events_published", "no metric peyvand_events_published"),
        ('peyvand_consumer_lag_events{applicant="x"}', "peyvand_consumer_lag_events has no label applicant"),
        ("sum by (county) (peyvand_consumer_lag_events)", "no metric here has the label county"),
    ],
)
def test_an_unknown_metric_or_label_is_detected(expression: str, fault: str) -> None:
    assert fault in _faults(expression)


def test_every_runbook_has_an_alert_and_all_sections() -> None:
    alerts = {rule["annotations"]["runbook"]: rule["alert"] for rule in _alerts()}
    assert len(alerts) == len(_alerts()), "two alerts share a runbook"
    for path in sorted((ROOT / "deploy" / "runbooks").glob("*.md")):
        text = path.read_text("utf-8")
        assert str(path.relative_to(ROOT)) in alerts
        assert path.stem == re.sub(r"(?<!^)(?=[A-Z])", "-", alerts[str(path.relative_to(ROOT))]).lower()
        assert f"**Alert:** {alerts[str(path.relative_to(ROOT))]}\n" in text
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Symptom", "Impact", "Checks", "Fix", "Verify"]
        for name in re.findall(r"\]\(([\w-]+\.md)\)", text):
            assert (path.parent / name).is_file(), f"{path.name} leads to {name}"
        known = _series().keys() | {name.removesuffix("_count") for name in _series()}
        assert [name for name in METRIC.findall(text) if name not in known] == []


def test_every_alert_has_a_test_that_it_fires_and_one_that_it_does_not() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text("utf-8"))["tests"]
    names = {each["name"] for each in tests}
    assert names == {f"{rule['alert']} {outcome}" for rule in _alerts() for outcome in ("fires", "does not fire")}


def test_the_local_platform_is_scraped_at_its_ports() -> None:
    content = yaml.safe_load(configuration(STATE))
    assert content["scrape_configs"][0]["static_configs"] == [
        {"targets": ["127.0.0.1:8103"], "labels": {"process": "market-api"}},
        {"targets": ["127.0.0.1:8113"], "labels": {"process": "market-worker"}},
    ]
    assert Path(content["rule_files"][0]).is_file()


def _promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.server
@PROMTOOL
def test_prometheus_accepts_the_files(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yaml").write_bytes(configuration(STATE))
    for path in (PROMETHEUS / "compose.yaml", tmp_path / "prometheus.yaml"):
        done = _promtool("check", "config", path)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.server
@PROMTOOL
def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    done = _promtool("test", "rules", PROMETHEUS / "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    insensitive = (PROMETHEUS / "alerts.yaml").read_text("utf-8").replace("> 60", "> 9999")
    (tmp_path / "alerts.yaml").write_text(insensitive, "utf-8")
    shutil.copy(PROMETHEUS / "alerts_test.yaml", tmp_path)
    assert _promtool("test", "rules", tmp_path / "alerts_test.yaml").returncode != 0


def test_the_tables_of_the_operations_page_are_generated() -> None:
    text = OPERATIONS.read_text("utf-8")
    assert with_tables(text) == text, "run `python -m peyvand.documentation`"
    assert all(f"`{name}" in text for name in {re.sub("_(bucket|count|sum)$", "", each) for each in _series()})


def test_a_stale_table_is_detected() -> None:
    text = OPERATIONS.read_text("utf-8")
    assert with_tables(text.replace("`peyvand_paused`", "`peyvand_rested`")) != text.replace("peyvand_paused", "x")
    stale = text.replace("| `peyvand_paused`", "| `peyvand_rested`")
    assert stale != text and with_tables(stale) != stale
    with pytest.raises(KeyError):
        with_tables("<!-- no such table -->\n<!-- end -->")


def test_links_of_the_operations_page_resolve() -> None:
    text = OPERATIONS.read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (OPERATIONS.parent / target).exists(), target
