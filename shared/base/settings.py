"""What a process is told from outside: one frozen class, read once from PEYVAND_* and passed down.

A missing or development secret outside development is a start-up error that names the variable. `python -m
base.settings` prints the table for docs/operations.md.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NoReturn, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from base.clock import Clock, file_clock, system_clock

PREFIX = "PEYVAND_"
DEVELOPMENT_SECRET = "development"  # what a secret is when nobody set it
SECRET_LENGTH = 32  # characters, outside development
OTHERS = frozenset({"PEYVAND_HOME", "PEYVAND_RUN", "PEYVAND_TOKEN"})  # read by the operator's command, not by a service


def secret(description: str) -> Any:
    """A field for a secret: development has a default, everywhere else it must be set."""
    return Field(
        default=SecretStr(DEVELOPMENT_SECRET), description=description, json_schema_extra={"peyvand_secret": True}
    )


class Settings(BaseSettings):
    """What every process needs; a service with more needs has a subclass of its own."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    service: str = Field(description="Name of the service: registration, screening, market or reporting.")
    environment: Literal["development", "production"] = Field(
        default="production",
        description="Development allows a settable clock and default secrets; production refuses both.",
    )
    kafka: str = Field(description="Bootstrap servers, host:port separated by commas.")
    mongo: SecretStr = Field(description="MongoDB URL with the service's own user; the server is a replica set.")
    database: str = Field(description="The service's own database.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on.")
    public_url: str = Field(
        default="http://127.0.0.1:8080", description="The one address under which people see the country."
    )
    proxies: str = Field(
        default="127.0.0.1", description="Addresses whose X-Forwarded-For is believed, separated by commas."
    )
    issuer: str = Field(default="http://127.0.0.1:8080/issuer", description="The `iss` of access tokens, exactly.")
    audience: str = Field(default="peyvand", description="The `aud` that access tokens must name.")
    jwks: Path = Field(description="File with the issuer's pinned public keys; read again when it changes.")
    fingerprint_key: SecretStr = secret("Key of the fingerprints of bodies that came with an Idempotency-Key.")
    clock: Path | None = Field(default=None, description="File of the settable programme clock; development only.")
    linger: float = Field(default=0.1, gt=0, le=5, description="Seconds in which events gather before one transaction.")
    assets: Path | None = Field(default=None, description="Folder with the npm packages that pages use.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )

    @property
    def development(self) -> bool:
        """Whether defaults for secrets and a settable clock are allowed."""
        return self.environment == "development"

    def programme_clock(self) -> Clock:
        """The clock that rules see."""
        return file_clock(self.clock) if self.clock else system_clock()

    @model_validator(mode="after")
    def _guard(self) -> Self:
        if self.development:
            return self
        if self.clock is not None:
            raise ValueError(f"{PREFIX}CLOCK is set: programme time is settable in development only")
        for name, field in type(self).model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("peyvand_secret"):
                value = getattr(self, name).get_secret_value()
                if value.startswith(DEVELOPMENT_SECRET) or not value:
                    raise ValueError(f"{PREFIX}{name.upper()} must be set outside development")
                if len(value) < SECRET_LENGTH:
                    raise ValueError(f"{PREFIX}{name.upper()} must have {SECRET_LENGTH} characters or more")
        return self


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """The settings of this process. Ends it with status 2 and a sentence per fault where they will not do."""
    told: dict[str, Any] = {}  # everything comes from the environment
    try:
        loaded = settings(**told)
    except ValidationError as e:
        _refuse("\n".join(["these settings will not do:", *(f"  {line}" for line in _faults(e))]))
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and not _known(settings, name))
    if unknown and not loaded.development:  # in development one environment serves all processes
        _refuse(f"{settings.__name__} knows no {', '.join(unknown)}: a typing error?")
    return loaded


def table(settings: type[Settings]) -> str:
    """The settings as a Markdown table."""
    lines = ["| Variable | Default | What it is |", "| --- | --- | --- |"]
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


def _refuse(why: str) -> NoReturn:
    print(f"peyvand: {why}", file=sys.stderr)
    sys.exit(2)


def _known(settings: type[Settings], name: str) -> bool:
    return name in OTHERS or name.removeprefix(PREFIX).lower() in settings.model_fields


def _faults(e: ValidationError) -> Iterator[str]:
    for error in e.errors(include_input=False, include_url=False):
        name = f"{PREFIX}{str(error['loc'][0]).upper()}: " if error["loc"] else ""
        message = "must be set" if error["type"] == "missing" else error["msg"].removeprefix("Value error, ")
        yield f"{name}{message}"
