"""Group commit: while one write is under way, what comes meanwhile goes together in the next.

A write and its journal flush cost the database the same for one document and for fifty. Nobody waits for a clock: what
comes alone is written at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from plumbing.store import Transient

T = TypeVar("T")

MOST = 500  # in one write


class Gathering(Generic[T]):
    """Hands `write` as many items as have come; it answers for each whether it was written, or the fault it met."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[Exception | None]]]) -> None:
        self.write = write
        self.waiting: list[tuple[T, asyncio.Future[None]]] = []
        self.writing: asyncio.Task[None] | None = None

    async def put(self, item: T) -> None:
        """Returns when the item is written; raises the fault it met, or what the whole write did."""
        done = asyncio.get_running_loop().create_future()
        self.waiting.append((item, done))
        if self.writing is None or self.writing.done():
            self.writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting[:MOST], self.waiting[MOST:]
            try:
                faults = await self._together([item for item, _ in batch])
            except BaseException:  # the loop ends: what became of them nobody knows
                for _, done in (*batch, *self.waiting):
                    done.cancel()
                raise
            for (_, done), fault in zip(batch, faults, strict=True):
                if done.done():  # who asked did not wait for it
                    continue
                if fault is None:
                    done.set_result(None)
                else:
                    done.set_exception(fault)

    async def _together(self, items: Sequence[T]) -> Sequence[Exception | None]:
        try:
            return await self.write(items)
        except Exception as whole:
            if len(items) == 1 or isinstance(whole, Transient):
                return [whole] * len(items)
        return [(await self._together([each]))[0] for each in items]  # one of them is not everybody's trouble
