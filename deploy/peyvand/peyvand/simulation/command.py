"""`peyvand simulate`: the country of this clone, or one that is named, through a national round."""

import asyncio
from collections.abc import Collection

from rich.console import Console

from peyvand.endpoints import Trouble, addresses
from peyvand.local_cluster.workspace import here
from peyvand.simulation import run


def simulate(scale: float, seed: int, only: Collection[str], url: str, keep_moving: bool) -> int:
    """Simulates a round and proves it; returns 0 where nothing differs. Raises Trouble."""
    place, home = addresses(url), here()
    mark = home.run / "simulation.json"
    where = run.Where(place.public_url, place.needs_kafka(), place.needs_mongo(), home.clock, mark)
    if not where.clock.parent.is_dir():
        raise Trouble("the country's clock is not here", "simulate from the clone that runs it: the clock is a file")
    round_ = run.simulate(
        where, seed=seed, scale=scale, only=frozenset(only), keep_moving=keep_moving, console=Console()
    )
    try:
        return asyncio.run(round_)
    except run.Refusal as refusal:
        raise Trouble(str(refusal)) from refusal
