"""A Prometheus configuration for the local platform: its processes at the ports of this run."""

from pathlib import Path

import msgspec

from peyvand.local_cluster.topology import ARCHIVE, SERVICES, ClusterState
from peyvand.local_cluster.workspace import ROOT, Workspace, replace_file

INTERVAL = "5s"


def configuration(state: ClusterState, rules: Path = ROOT / "deploy" / "prometheus" / "alerts.yaml") -> bytes:
    """Return a configuration (JSON, which is YAML too): one target per process of a service, and the alerts."""
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"process": name}}
        for name, port in sorted(state.ports.items())
        if name.rpartition("-")[0] in (*SERVICES, ARCHIVE)
    ]
    content = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": "15s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "peyvand", "static_configs": targets}],
    }
    return msgspec.json.format(msgspec.json.encode(content))


def write_configuration(workspace: Workspace, state: ClusterState) -> Path:
    """Write run/prometheus.yaml, for `prometheus --config.file`; return its path."""
    path = workspace.run / "prometheus.yaml"
    replace_file(path, configuration(state))
    return path
