"""Watching: does each panel and alert ask for a metric that exists, and does each alert ring and name a runbook?"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from peyvand.documentation import OPERATIONS, filled, metrics
from peyvand.local_cluster.processes import Identity
from peyvand.local_cluster.prometheus import configuration
from peyvand.local_cluster.topology import State
from peyvand.local_cluster.workspace import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
STATE = State(
    Identity(1, 2, "b"),
    public_url="http://127.0.0.1:8080",
    ports={"door": 8080, "kafka": 9092, "market-api": 8103, "market-worker": 8113},
)
OURS = re.compile(r"\bpeyvand_\w+")
PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH: not run")


def _series() -> dict[str, set[str]]:
    """The series that a metric shows itself as -> its labels."""
    found: dict[str, set[str]] = {}
    for metric in metrics():
        labels = set(metric._labelnames)
        match metric._type:
            case "counter":
                found[f"{metric._name}_total"] = labels
            case "histogram":
                found |= {f"{metric._name}_bucket": labels | {"le"}, f"{metric._name}_count": labels}
                found[f"{metric._name}_sum"] = labels
            case _:
                found[metric._name] = labels
    return found


def _faults(expression: str) -> list[str]:
    """What a PromQL expression asks for that no process tells."""
    series, asked = _series(), OURS.findall(expression)
    faults = [f"no metric {name}" for name in asked if name not in series]
    for name, selected in re.findall(r"\b(peyvand_\w+)\{([^}]*)\}", expression):
        labels = re.findall(r"(\w+)\s*[=!]", selected)
        faults += [f"{name} has no label {label}" for label in labels if label not in series.get(name, set())]
    known = set().union(*(series.get(name, set()) for name in asked), {"job", "process"})
    grouped = [label.strip() for each in re.findall(r"\bby \(([^)]*)\)", expression) for label in each.split(",")]
    return faults + [f"nothing here has the label {label}" for label in grouped if label not in known]


def _queries(path: Path) -> list[tuple[str, str]]:
    """(title, expression) of each query of a dashboard."""
    told = json.loads(path.read_text("utf-8"))
    return [(panel["title"], target["expr"]) for panel in told["panels"] for target in panel.get("targets", ())]


def test_there_is_a_dashboard() -> None:
    assert DASHBOARDS and all(len(_queries(each)) > 10 for each in DASHBOARDS)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_panel_asks_for_a_metric_that_exists(path: Path) -> None:
    assert [(title, fault) for title, expression in _queries(path) for fault in _faults(expression)] == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_every_panel_says_what_it_shows_and_has_its_place(path: Path) -> None:
    panels = json.loads(path.read_text("utf-8"))["panels"]
    assert all(panel["description"] and panel["targets"] for panel in panels if panel["type"] != "row")
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        own = {(x, y) for x in columns for y in rows}
        assert not own & taken and max(columns) < 24
        taken |= own


def test_dashboards_use_the_data_source_that_is_provided() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"][0]
    for path in DASHBOARDS:
        panels = json.loads(path.read_text("utf-8"))["panels"]
        assert {panel["datasource"]["uid"] for panel in panels if "datasource" in panel} == {source["uid"]}


def _alerts() -> list[dict[str, Any]]:
    told = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text("utf-8"))
    return [rule for group in told["groups"] for rule in group["rules"]]


def test_every_alert_asks_for_a_metric_that_exists_and_names_a_runbook_that_does() -> None:
    assert [(rule["alert"], fault) for rule in _alerts() for fault in _faults(rule["expr"])] == []
    for rule in _alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert (ROOT / rule["annotations"]["runbook"]).is_file()


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(peyvand_wishes)", "no metric peyvand_wishes"),
        ("peyvand_events_relayed", "no metric peyvand_events_relayed"),
        ('peyvand_lag_events{applicant="x"}', "peyvand_lag_events has no label applicant"),
        ("sum by (county) (peyvand_lag_events)", "nothing here has the label county"),
    ],
)
def test_a_metric_or_label_that_is_not_there_is_noticed(expression: str, fault: str) -> None:
    assert fault in _faults(expression)


def test_every_runbook_belongs_to_an_alert_and_tells_look_do_and_over() -> None:
    named = {rule["annotations"]["runbook"] for rule in _alerts()}
    for path in sorted((ROOT / "deploy" / "runbooks").glob("*.md")):
        text = path.read_text("utf-8")
        assert str(path.relative_to(ROOT)) in named
        assert all(word in text for word in ("**Alert", "**Look**", "**Do**", "**Over when**"))
        for name in re.findall(r"\]\(([\w-]+\.md)\)", text):
            assert (path.parent / name).is_file(), f"{path.name} leads to {name}"
        known = _series().keys() | {name.removesuffix("_count") for name in _series()}
        assert [name for name in OURS.findall(text) if name not in known] == []


def test_every_alert_is_shown_to_ring_and_to_stay_quiet() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text("utf-8"))["tests"]
    shown = {each["name"] for each in tests}
    assert shown == {f"{rule['alert']} {how}" for rule in _alerts() for how in ("rings", "stays quiet")}


def test_the_embedded_country_is_scraped_at_the_ports_it_has() -> None:
    told = yaml.safe_load(configuration(STATE))
    assert told["scrape_configs"][0]["static_configs"] == [
        {"targets": ["127.0.0.1:8103"], "labels": {"process": "market-api"}},
        {"targets": ["127.0.0.1:8113"], "labels": {"process": "market-worker"}},
    ]
    assert Path(told["rule_files"][0]).is_file()


def _promtool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.server
@PROMTOOL
def test_prometheus_takes_the_files(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yaml").write_bytes(configuration(STATE))
    for path in (PROMETHEUS / "compose.yaml", tmp_path / "prometheus.yaml"):
        done = _promtool("check", "config", path)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.server
@PROMTOOL
def test_the_alerts_ring_when_they_should_and_not_before(tmp_path: Path) -> None:
    done = _promtool("test", "rules", PROMETHEUS / "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    dull = (PROMETHEUS / "alerts.yaml").read_text("utf-8").replace("> 60", "> 9999")
    (tmp_path / "alerts.yaml").write_text(dull, "utf-8")
    shutil.copy(PROMETHEUS / "alerts_test.yaml", tmp_path)
    assert _promtool("test", "rules", tmp_path / "alerts_test.yaml").returncode != 0


def test_the_tables_of_the_operations_page_are_those_of_the_code() -> None:
    text = OPERATIONS.read_text("utf-8")
    assert filled(text) == text, "run `python -m peyvand.documentation`"
    assert all(f"`{name}" in text for name in {re.sub("_(bucket|count|sum)$", "", each) for each in _series()})


def test_a_stale_table_is_noticed() -> None:
    text = OPERATIONS.read_text("utf-8")
    assert filled(text.replace("`peyvand_paused`", "`peyvand_rested`")) != text.replace("peyvand_paused", "x")
    stale = text.replace("| `peyvand_paused`", "| `peyvand_rested`")
    assert stale != text and filled(stale) != stale
    with pytest.raises(KeyError):
        filled("<!-- no such table -->\n<!-- end -->")


def test_links_of_the_operations_page_lead_somewhere() -> None:
    text = OPERATIONS.read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (OPERATIONS.parent / target).exists(), target
