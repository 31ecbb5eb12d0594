"""`peyvand audit`: verify every row of the audit chains, and their signed heads."""

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from peyvand.commands.output import Json, Url, print_result
from peyvand.endpoints import CommandError, find_endpoints

if TYPE_CHECKING:
    from security.audit_heads import Verification

KEY = "/registration/v1/audit/key"


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("audit")(verify_audit)


def verify_audit(as_json: Json = False, url: Url = "") -> int:
    """Verify who read and erased identities: every row, every chain and the daily heads; exit code 1 on a defect."""
    from peyvand.api_client import ApiClient

    endpoints = find_endpoints(url)
    key = ApiClient(endpoints.public_url).get(KEY)["public_key"]
    found = asyncio.run(_verify(endpoints.require_mongo(), key))
    print_result(found, as_json, audit_text)
    return 1 if found.defects else 0


def audit_text(found: "Verification") -> str:
    """Return what was verified, and what is not proven."""
    signed = f"signed until {found.signed_until:%Y-%m-%d %H:%M:%S} UTC" if found.signed_until else "not signed yet"
    lines = [f"{found.rows:,} rows in {found.chains:,} chains, {found.heads:,} heads, {signed}"]
    lines.append(f"{found.unsigned_rows:,} rows are newer than the last head: that they are complete is not proven yet")
    if found.newest:
        lines.append(
            f"the last head is {found.newest}: compare it, and its number, with the log of registration's worker"
        )
    return "\n".join([*lines, *(f"DEFECT {each}" for each in found.defects)])


async def _verify(mongo: str, key: str) -> "Verification":
    from pymongo.errors import PyMongoError

    from base.clock import machine_now
    from kernel.errors import Transient
    from kernel.stores.mongodb import connect
    from security.audit_heads import verify

    client: Any = connect(mongo)
    try:
        return await verify(client.registration, key, machine_now())
    except (PyMongoError, Transient) as e:
        raise CommandError(f"MongoDB does not answer: {e}", "is it up, and may this user read all four stores?") from e
    finally:
        await client.close()
