"""`peyvand simulate`: a national round on the platform of this clone, or on one that is named."""

import asyncio
from collections.abc import Collection

import aiohttp
from rich.console import Console

from peyvand.endpoints import CommandError, find_endpoints
from peyvand.local_cluster.workspace import current_workspace
from peyvand.simulation import run
from peyvand.simulation.client import RequestRefused
from peyvand.simulation.quiescence import NotQuiescent


def simulate(scale: float, seed: int, only: Collection[str], url: str, keep_moving: bool) -> int:
    """Simulate a round and verify it; return 0 if nothing differs. Raise CommandError."""
    endpoints, workspace = find_endpoints(url), current_workspace()
    target = run.Target(
        url=endpoints.public_url,
        kafka=endpoints.require_kafka(),
        mongo=endpoints.require_mongo(),
        clock=workspace.clock,
        progress=workspace.run / "simulation.json",
    )
    if not target.clock.parent.is_dir():
        raise CommandError(
            "the platform's clock is not here", "simulate from the clone that runs it: the clock is a file"
        )
    simulation = run.simulate(
        target, seed=seed, scale=scale, only=frozenset(only), keep_moving=keep_moving, console=Console()
    )
    try:
        return asyncio.run(simulation)
    except run.StoreNotEmpty as e:
        raise CommandError(str(e)) from e
    except (RequestRefused, NotQuiescent, aiohttp.ClientConnectionError, TimeoutError) as e:
        raise CommandError(
            f"the round stopped: {e or type(e).__name__}", "the same command goes on where it stopped"
        ) from e
