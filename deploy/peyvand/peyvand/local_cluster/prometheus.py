"""What Prometheus needs to watch the embedded country: its processes at the ports they have this time."""

from pathlib import Path

import msgspec

from peyvand.local_cluster.topology import SERVICES, State
from peyvand.local_cluster.workspace import ROOT, Home, write

INTERVAL = "5s"


def configuration(state: State, rules: Path = ROOT / "deploy" / "prometheus" / "alerts.yaml") -> bytes:
    """A whole configuration (JSON, which is YAML too): one target a process of ours, and the alerts."""
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"process": name}}
        for name, port in sorted(state.ports.items())
        if name.rpartition("-")[0] in SERVICES
    ]
    told = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": "15s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "peyvand", "static_configs": targets}],
    }
    return msgspec.json.format(msgspec.json.encode(told))


def write_configuration(home: Home, state: State) -> Path:
    """Writes run/prometheus.yaml: `prometheus --config.file` takes it as it is. Returns where it is."""
    path = home.run / "prometheus.yaml"
    write(path, configuration(state))
    return path
