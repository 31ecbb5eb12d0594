"""The public key of the audit: it is computed from the service's secrets, so the database cannot exchange it."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from registration.api.dependencies import HeadKey
from security.auth import Principal
from web.authorization import public

router = APIRouter(prefix="/v1", tags=["audit"])


class AuditKey(BaseModel):
    """The key that verifies the newest head."""

    public_key: str = Field(description="Ed25519, hexadecimal.")


@router.get("/audit/key")
async def audit_key(principal: Annotated[Principal, public()], key: HeadKey) -> AuditKey:
    """Return the key with which `peyvand audit` verifies the heads of the audit chains."""
    return AuditKey(public_key=key)
