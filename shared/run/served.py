"""Which database an API serves: that of its service or, of a projection, the generation that is pointed to."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog

from kernel.errors import Transient
from kernel.service import Runtime, Service
from kernel.store import Change
from observability.health import ReadinessReason
from recovery.generations import Pointer
from run.gate import closing_reasons
from web.app import App

log = structlog.get_logger(__name__)


class ServedDatabase:
    """A check of the gate, which also replaces the API's runtime after a flip: no request fails or waits for it.

    A runtime that was replaced is closed with `stack`: requests that have begun, end with it.
    """

    def __init__(self, app: App, service: Service[Any], runtime: Runtime[Any], stack: AsyncExitStack) -> None:
        self.app, self.service, self.stack = app, service, stack
        self.settings: Any = runtime.settings
        self.own = runtime.store.database.name  # type: ignore[attr-defined]  # over MongoDB
        self.client = runtime.store.database.client  # type: ignore[attr-defined]
        self.pointer = Pointer(self.client[self.settings.database])
        self.serving = self.own
        self.open = False  # whether it has ever been

    async def __call__(self) -> list[ReadinessReason]:
        """Return why the API may not be open. Raise Transient."""
        served = (await self.pointer.read()).served if self.service.generation else self.own
        if not served:
            text = "no generation is served yet: the first worker begins one, or `peyvand rebuild` builds it"
            return [ReadinessReason("generation_missing", text)]
        if served != self.serving and (reasons := await self._replace(served)) and not self.open:
            return reasons
        store = self.app.state.runtime.store
        reasons = await closing_reasons(self.service, store, indexes=self.serving == self.own)
        self.open = self.open or not reasons
        return reasons

    async def _replace(self, name: str) -> list[ReadinessReason]:
        """Serve another generation from now, or return why it cannot be read. Raise Transient."""
        async with AsyncExitStack() as opening:
            runtime = await opening.enter_async_context(self.service.over(self.client[name], self.settings))
            if name != self.own:
                runtime.projection = _refuse
            reasons = await self.service.ready(runtime) if self.service.ready else []
            if reasons:
                log.error("generation not served: this version of the API cannot read it", service=self.service.name)
                return reasons
            self.app.state.runtime, self.serving = runtime, name
            self.stack.push_async_exit(opening.pop_all())
            return []


async def _refuse(changes: Sequence[Change], session: Any) -> None:
    """Raise Transient: the tallies of another generation follow from other rules than those of this version."""
    raise Transient("another version of the service writes this generation")
