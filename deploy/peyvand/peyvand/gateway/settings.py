"""Settings of the gateway and the development issuer, from their environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIXES = ("registration", "screening", "market")  # every other path is reporting's


class GatewaySettings(BaseSettings):
    """Read once by `gateway.server.main`; a missing value is a start-up error that names it."""

    model_config = SettingsConfigDict(env_prefix="PEYVAND_", frozen=True)

    environment: Literal["development", "production"] = Field(
        default="production", description="the gateway and its issuer start in development only"
    )
    host: str = Field(default="127.0.0.1", description="the address the gateway listens on")
    port: int = Field(default=8080, description="the port the gateway listens on")
    public_url: str = Field(description="the public address of the platform, as a browser sees it")
    issuer: str = Field(description="the issuer claim of its tokens: the public address + /issuer")
    audience: str = Field(default="peyvand", description="the audience claim of its tokens")
    jwks: Path = Field(description="the file to which the public keys are written; every service pins it")
    issuer_key: Path = Field(description="the file of the signing key, created once")
    clients: dict[str, SecretStr] = Field(
        default={}, description="the services that get tokens for one another, and their secrets"
    )
    upstream_registration: str = Field(description="the address of registration's API")
    upstream_screening: str = Field(description="the address of screening's API")
    upstream_market: str = Field(description="the address of market's API")
    upstream_reporting: str = Field(description="the address of reporting's API")
    upstream_operations: str = Field(default="", description="the address of the operations page, if there is one")
    body_limit: int = Field(default=64 << 20, description="the largest request body in bytes")
    max_connections: int = Field(default=8_000, ge=1, description="open connections of clients")
    max_connections_per_address: int = Field(default=1_000, ge=1, description="open connections of one address")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="the lowest level logged"
    )

    def upstreams(self) -> dict[str, str]:
        """Return service -> address of its API, without a trailing slash."""
        return {name: str(getattr(self, f"upstream_{name}")).rstrip("/") for name in (*PREFIXES, "reporting")}

    def optional_upstreams(self) -> dict[str, str]:
        """Return the upstreams that need not be ready for the platform to be ready."""
        return {"operations": self.upstream_operations.rstrip("/")} if self.upstream_operations else {}
