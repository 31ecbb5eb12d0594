"""The naive registration, `python -m tests.bench.naive PORT MONGO`: no token, no encryption, none unique, no event."""

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
    """That the person agreed."""

    version: str
    given: bool


class Application(BaseModel):
    """What was typed."""

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
    """The answer."""

    id: str
    province: str
    county: str
    field: str
    registered_at: datetime


def create(url: str) -> FastAPI:
    """The application."""

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
        kept = {"_id": new, "round": round_id, "registered_at": now, **application.model_dump()}
        await request.app.state.applications.insert_one(kept)
        return Registered(id=new, registered_at=now, **application.model_dump(include={"province", "county", "field"}))

    return app


if __name__ == "__main__":
    uvicorn.run(create(sys.argv[2]), port=int(sys.argv[1]), log_level="warning", access_log=False)
