"""Settings of a process: one frozen class per service, read once from PEYVAND_* variables and passed down.

Outside development, a missing, default or weak secret and an unencrypted Kafka or MongoDB are start-up errors that
name the variable.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from base.clock import Clock, file_clock, system_clock
from base.entropy import weakness
from base.kafka_access import KafkaAccess
from contracts.topics import TOPICS

PREFIX = "PEYVAND_"
DEVELOPMENT_SECRET = "development"  # the default of every secret
UNVERIFIED = frozenset({"tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames"})  # MongoDB's options
OPERATOR_VARIABLES = frozenset({"PEYVAND_HOME", "PEYVAND_RUN", "PEYVAND_TOKEN"})  # of the command `peyvand`


def secret(description: str) -> Any:
    """Return a field for a secret: it has a default in development and must be set everywhere else."""
    return Field(
        default=SecretStr(DEVELOPMENT_SECRET), description=description, json_schema_extra={"peyvand_secret": True}
    )


class ProcessSettings(BaseSettings):
    """Settings of a process with a database and a port."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    service: str = Field(description="Name of the service.")
    environment: Literal["development", "production"] = Field(
        default="production",
        description="Development allows a settable clock and default secrets; production refuses both.",
    )
    mongo: SecretStr = Field(
        description="MongoDB URL with the service's own user; the server is a replica set. Outside development with "
        "`tls=true`, and a password or `authMechanism=MONGODB-X509`."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    trusted_proxies: str = Field(
        default="127.0.0.1", description="Addresses whose X-Forwarded-For is trusted, separated by commas."
    )
    max_connections: int = Field(
        default=8_000, ge=1, description="Open connections of a process; fewer where the limit of open files is lower."
    )
    max_connections_per_address: int = Field(
        default=1_000,
        ge=1,
        description="Open connections of one address, trusted proxies apart; mobile carriers have thousands of people "
        "behind one.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )

    @property
    def development(self) -> bool:
        """Return whether default secrets and a settable clock are allowed."""
        return self.environment == "development"

    @model_validator(mode="after")
    def _check_production(self) -> Self:
        if not self.development and (problems := [f"{PREFIX}{name} {what}" for name, what in self._problems()]):
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Yield each variable that only development allows, and what is wrong with it."""
        if what := url_weakness(self.mongo.get_secret_value()):
            yield "MONGO", what
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("peyvand_secret"):
                value = getattr(self, name).get_secret_value()
                if value.startswith(DEVELOPMENT_SECRET) or not value:
                    yield name.upper(), "must be set outside development"
                elif what := weakness(value):
                    yield name.upper(), what


class Settings(ProcessSettings):
    """Settings of the roles of a service, which adds its own in a subclass."""

    kafka: str = Field(description="Bootstrap servers, host:port separated by commas.")
    kafka_user: str = Field(
        default="",
        description="The service's own Kafka user (SCRAM-SHA-512, TLS). Plaintext without one, in development only.",
    )
    kafka_password: SecretStr = secret("Password of PEYVAND_KAFKA_USER, as `peyvand apply` has set it.")
    kafka_ca: Path | None = Field(
        default=None, description="File with the authorities of Kafka's certificates; if not set, the system's."
    )
    database: str = Field(description="The service's own database; a projection has one for each generation beside it.")
    public_url: str = Field(default="http://127.0.0.1:8080", description="The public address of the platform.")
    issuer: str = Field(default="http://127.0.0.1:8080/issuer", description="The `iss` of access tokens, exactly.")
    audience: str = Field(default="peyvand", description="The `aud` that access tokens must name.")
    jwks: Path = Field(description="File with the pinned public keys of the issuer; read again when it changes.")
    fingerprint_key: SecretStr = secret(
        "Keys what is stored of an Idempotency-Key and its request. A new one recognises no earlier request."
    )
    client_secret: SecretStr = secret("With which the service, a client of its own name, gets the issuer's tokens.")
    producers: str = Field(
        default="",
        description="APIs of the services whose events this one consumes, name=URL separated by commas, each with its "
        "path prefix and not through the public address: `registration=http://registration-api:8000/registration`.",
    )
    clock: Path | None = Field(default=None, description="File of the settable programme clock; development only.")
    linger: float = Field(default=0.1, gt=0, le=5, description="Seconds to collect events before one transaction.")
    assets: Path | None = Field(default=None, description="Folder with the npm packages that pages use.")

    def programme_clock(self) -> Clock:
        """Return the clock that gives programme time."""
        return file_clock(self.clock) if self.clock else system_clock()

    @property
    def producer_urls(self) -> dict[str, str]:
        """Return the addresses of the APIs of producers, by service."""
        pairs = (each.strip().partition("=") for each in self.producers.split(",") if each.strip())
        return {name: url.rstrip("/") for name, _, url in pairs}

    @property
    def kafka_access(self) -> KafkaAccess:
        """Return how every client of this process connects to Kafka."""
        password = self.kafka_password.get_secret_value()
        return KafkaAccess(self.kafka, self.kafka_user, password, str(self.kafka_ca or ""))

    def _problems(self) -> Iterator[tuple[str, str]]:
        if self.clock is not None:
            yield "CLOCK", "is set: programme time can be set in development only"
        if not self.kafka_user:
            yield "KAFKA_USER", "must be set outside development: without a user the connection would be plaintext"
        consumed = {topic.producer for topic in TOPICS if self.service in topic.consumers}
        if lacking := sorted(consumed - self.producer_urls.keys()):
            yield "PRODUCERS", f"must name the API of {' and '.join(lacking)}"
        yield from super()._problems()


def url_weakness(url: str) -> str:
    """Return what a MongoDB URL lacks that is not development's, as the end of a sentence; empty if nothing."""
    parts = urlsplit(url)
    options = {name.lower(): value for name, value in parse_qsl(parts.query)}
    tls = options.get("tls") or options.get("ssl") or str(parts.scheme == "mongodb+srv").lower()
    if tls != "true":
        return "must have tls=true outside development"
    if unverified := sorted(name for name in UNVERIFIED if options.get(name) == "true"):
        return f"must not have {' and '.join(unverified)} outside development"
    if options.get("authmechanism") == "MONGODB-X509":
        return "" if "tlscertificatekeyfile" in options else "must have tlsCertificateKeyFile for MONGODB-X509"
    if not (parts.username and parts.password):
        return "must have a user with a password, or authMechanism=MONGODB-X509, outside development"
    what = weakness(unquote(parts.password))
    return f"has a password that {what}" if what else ""


S = TypeVar("S", bound=ProcessSettings)


def load(settings: type[S]) -> S:
    """Return the settings of this process. If they are invalid, print every error and exit with status 2."""
    arguments: dict[str, Any] = {}  # every value comes from the environment
    try:
        loaded = settings(**arguments)
    except ValidationError as e:
        _exit("\n".join(["invalid settings:", *(f"  {line}" for line in _errors(e))]))
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and not _known(settings, name))
    if unknown and not loaded.development:  # in development one environment serves all processes
        _exit(f"unknown settings: {', '.join(unknown)}; check the spelling ({settings.__name__} does not have them)")
    return loaded


def table(settings: type[BaseSettings]) -> str:
    """Return the settings as a Markdown table."""
    lines = ["| Variable | Default | Meaning |", "| --- | --- | --- |"]
    for name, field in settings.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("peyvand_secret"):
            default = "required outside development"
        elif field.is_required():
            default = "required"
        else:
            value = field.get_default(call_default_factory=True)
            default = "none" if value in (None, {}) else f"`{value}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def _exit(error: str) -> NoReturn:
    print(f"peyvand: {error}", file=sys.stderr)
    sys.exit(2)


def _known(settings: type[ProcessSettings], name: str) -> bool:
    return name in OPERATOR_VARIABLES or name.removeprefix(PREFIX).lower() in settings.model_fields


def _errors(e: ValidationError) -> Iterator[str]:
    for error in e.errors(include_input=False, include_url=False):
        name = f"{PREFIX}{str(error['loc'][0]).upper()}: " if error["loc"] else ""
        message = "must be set" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
        yield f"{name}{message}"
