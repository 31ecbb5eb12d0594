"""The role `worker`: consume, publish and run the scheduler until SIGTERM or SIGINT."""

import os
import threading
from functools import partial
from typing import Any

import uvloop

from base.garbage import BATCHES, collect_rarely
from base.settings import Settings, load
from contracts.topics import topic_of, topics_consumed_by
from kernel.kafka.authentication import authenticate_before_start
from kernel.kafka.relay import Relay, connect_producer
from kernel.roles.worker import Gate, Worker
from kernel.service import Runtime, Service
from kernel.stores.mongodb import MongoStore
from observability import metrics
from programme.calendar import tehran_day
from programme.work_calendar import work_calendar
from recovery.completion import complete_before_start
from recovery.generations import wait_until_built
from recovery.reconciliation.client import RemoteOwner, Tokens
from recovery.reconciliation.loop import ReconciliationLoop
from recovery.reconciliation.owner import Owner
from recovery.replay import ReplayLoop
from run.backlog import BacklogLoop
from run.server import serve_worker
from security.auth import own_audience

EXIT_TIMEOUT = 20.0  # seconds from what ends a worker to the end of its process


def run_worker(service: Service[Any]) -> None:
    """Work until SIGTERM or SIGINT. Raise what ended the worker."""
    uvloop.run(_run(service))


async def _run(service: Service[Any]) -> None:
    settings = load(service.settings)
    async with service.running(settings) as runtime:
        worker = worker_of(service, runtime)
        collect_rarely(BATCHES)
        try:
            await serve_worker(worker, settings)
        finally:
            exit_in(EXIT_TIMEOUT)


def exit_in(seconds: float) -> None:
    """End the process by then, even if a thread hangs: Python waits for all threads of its pool before it exits."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


def owners_of(settings: Settings) -> dict[str, Owner]:
    """Return the owners of the events that a service consumes, by source; a token is valid for one of them."""
    tokens = Tokens(settings.issuer, settings.service, settings.client_secret.get_secret_value())
    return {
        source: RemoteOwner(url, own_audience(settings.audience, source), tokens)
        for source, url in settings.producer_urls.items()
    }


def worker_of(service: Service[Any], runtime: Runtime[Any]) -> Worker:
    """Return the worker of a service, with the gates and loops that recovery adds."""
    store, settings = runtime.store, runtime.settings
    assert isinstance(store, MongoStore)
    restored = service.restored(runtime) if service.restored else None
    then = partial(service.after_restore, runtime) if service.after_restore else None
    days_left = metrics.CALENDAR_DAYS.labels(service.name)
    days_left.set_function(lambda: (work_calendar().ends - tehran_day(runtime.clock().at)).days)
    completed: list[Gate] = [partial(complete_before_start, restored=restored, then=then)]
    home = store.client[settings.database]
    built: list[Gate] = [partial(wait_until_built, home=home)] if service.generation else []
    return Worker(
        service.name,
        topics_consumed_by(service.name),
        settings.kafka_access,
        store,
        Relay(store, connect_producer(settings.kafka_access, service.name), topic_of(service.name)),
        runtime.clock,
        projection=runtime.projection,
        jobs=(store.counters, *(service.jobs(runtime) if service.jobs else ())),
        gates=(authenticate_before_start, *built, *completed),
        loops={
            "replay": ReplayLoop,
            "backlog": BacklogLoop,
            "reconciliation": partial(ReconciliationLoop, owners=owners_of(settings)),
        },
        linger=settings.linger,
        longest_linger=service.longest_linger,
        group=service.database_of(service.name),
    )
