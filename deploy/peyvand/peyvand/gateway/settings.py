"""What the front door and the development issuer are told by their environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIXES = ("registration", "screening", "market")  # every other path is reporting's


class DoorSettings(BaseSettings):
    """Built once in `door.main`, passed down; a missing value is a start-up error that names it."""

    model_config = SettingsConfigDict(env_prefix="PEYVAND_", frozen=True)

    environment: Literal["development", "production"] = Field(
        default="production", description="the front door and its issuer start in development only"
    )
    host: str = Field(default="127.0.0.1", description="the address the front door listens on")
    port: int = Field(default=8080, description="the port the front door listens on")
    public_url: str = Field(description="the one address of the country, as a browser sees it")
    issuer: str = Field(description="the issuer claim of its tokens: the public address + /issuer")
    audience: str = Field(default="peyvand", description="the audience claim of its tokens")
    jwks: Path = Field(description="the file that gets the public keys; every service pins it")
    issuer_key: Path = Field(description="the file that keeps the signing key, made once")
    upstream_registration: str = Field(description="where the front door finds registration's api")
    upstream_screening: str = Field(description="where the front door finds screening's api")
    upstream_market: str = Field(description="where the front door finds market's api")
    upstream_reporting: str = Field(description="where the front door finds reporting's api")
    upstream_operations: str = Field(default="", description="where it finds the operators' page, if anywhere")
    body_limit: int = Field(default=64 << 20, description="bytes of a request body that the front door lets through")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level logged")

    def upstreams(self) -> dict[str, str]:
        """Service -> the address of its api, without a trailing slash."""
        return {name: str(getattr(self, f"upstream_{name}")).rstrip("/") for name in (*PREFIXES, "reporting")}

    def besides(self) -> dict[str, str]:
        """What else has a prefix, and need not be ready for the country to be."""
        return {"operations": self.upstream_operations.rstrip("/")} if self.upstream_operations else {}
