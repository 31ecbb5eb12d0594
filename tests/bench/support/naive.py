"""The naive registration, `python -m tests.bench.support.naive PORT MONGO`: one insert, nothing else.

It has no token, no encryption, no unique index and no event.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel
from pymongo import AsyncMongoClient


class Consent(BaseModel):
    """The consent of the person."""

    version: str
    given: bool


class Application(BaseModel):
    """The request."""

    national_id: str
    birth_date: str
    first_name: str
    last_name: str
    sex: str
    mobile: str
    province: str
    county: str
    field: str
    work_mode: str
    consent: Consent


class Registered(BaseModel):
    """The response."""

    id: str
    province: str
    county: str
    field: str
    registered_at: datetime


def create(url: str) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncMongoClient[dict[str, Any]](url, w="majority", journal=True) as client:
            app.state.applications = client.naive.applications
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/rounds/{round_id}/applications", status_code=201)
    async def register(round_id: str, application: Application, request: Request) -> Registered:
        now, new = datetime.now(UTC), str(uuid4())
        document = {"_id": new, "round": round_id, "registered_at": now, **application.model_dump()}
        await request.app.state.applications.insert_one(document)
        return Registered(id=new, registered_at=now, **application.model_dump(include={"province", "county", "field"}))

    return app


if __name__ == "__main__":
    uvicorn.run(create(sys.argv[2]), port=int(sys.argv[1]), log_level="warning", access_log=False)
