"""What the authorisation tests need: identities, an oracle that reads only the permission table, and worlds.

A world is one service over memory with the same things in three areas, of which each identity may see some. The oracle
shares no code with the platform: it compares letters of the table and the names of areas.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import httpx
from joserfc.jwk import ECKey

from security.permissions import ROLE_SCOPES, TABLE
from tests.support.tokens import Issuer
from web.app import App
from web.authorization import AccessPolicy

AREAS = ("IR-20/2001", "IR-20/2002", "IR-23/2301")
MISSING = "missing"  # the area of what does not exist
LETTERS = "AMRW"
OFFICERS = {role: scope for role, scope in ROLE_SCOPES.items() if role != "consumer"}  # which needs another audience


@dataclass(frozen=True)
class Identity:
    """Who sends a request: the roles and the area or lead enterprise of their token; no roles without a valid one."""

    name: str
    headers: Mapping[str, str]
    roles: tuple[str, ...] = ()
    area: str = ""
    lead: str = ""
    valid: bool = True


def admits(roles: Sequence[str], policy: AccessPolicy) -> list[str]:
    """Return the roles that the table lets do this."""
    cells = {role: TABLE[policy.action].get(role, "") for role in roles}
    return [role for role, cell in cells.items() if cell and LETTERS.index(cell[0]) >= LETTERS.index(policy.access)]


def contains(area: str, place: str) -> bool:
    """Return whether a place lies in an area; the whole country is an empty area."""
    return not area or place == area or place.startswith(f"{area}/")


@dataclass
class Operation:
    """One operation: where its requests go for a thing in an area, and what kind of answer it gives."""

    kind: str  # thing, list, batch, place, claim, counts, nation
    options: Callable[[str], Mapping[str, Any]] = lambda area: {}
    ids: Mapping[str, str] = field(default_factory=dict)  # by area, for the path
    own_only: bool = False  # a lead enterprise reaches only what is its own
    provincial: bool = False  # the thing belongs to the province as a whole
    other_missing: str = "-"  # code of a 404 about something else than the thing
    query: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)  # list: the mark by area that it shows
    cursor: str = ""  # list: a cursor that someone else got


class World:
    """A service with things in three areas. `marks` are strings that show a thing of an area, `leads` its leads."""

    def __init__(self, app: App, issuer: Issuer) -> None:
        self.app, self.issuer = app, issuer
        self.marks: dict[str, set[str]] = {area: set() for area in AREAS}
        self.leads: dict[str, str] = {}  # area -> the lead enterprise that the thing in it belongs to
        self.operations: dict[tuple[str, str], Operation] = {}
        self.store: Any = None
        self.leases: Any = None
        self.guard: Any = None
        self._saved: Any = None

    def save(self) -> None:
        """Keep the present records, to which `restore` returns."""
        self._saved = self._state()

    def restore(self) -> None:
        """Undo what a request has changed, and every rate limit that it has used up."""
        if self.store is not None:
            state = self._saved
            self.store.records, self.store.published = dict(state[0]), dict(state[1])
            self.store.by_unique, self.store.events = dict(state[2]), {k: list(v) for k, v in state[3].items()}
        if self.leases is not None:
            self.leases.leases.clear()
        if self.guard is not None:
            self.guard.blocked_until.clear()
        self.app.state.buckets.buckets.clear()

    def _state(self) -> Any:
        if self.store is None:
            return None
        events = {k: list(v) for k, v in self.store.events.items()}
        return dict(self.store.records), dict(self.store.published), dict(self.store.by_unique), events


def tokenless(issuer: Issuer, forger: Issuer) -> Iterator[Identity]:
    """Yield identities that no service may accept; their claims would allow everything."""
    every: dict[str, Any] = {"province": "IR-20", "county": "2001", "lead": "l-1"}
    roles = tuple(ROLE_SCOPES)
    forger.key = ECKey.generate_key("P-256", {"kid": "test-1"})
    now = int(time.time())
    yield Identity("none", {}, valid=False)
    yield Identity("not a token", {"Authorization": "Bearer x.y.z"}, valid=False)
    for name, bearer in {
        "expired": issuer.bearer(*roles, **every, iat=now - 400, nbf=now - 400, exp=now - 100),
        "valid for too long": issuer.bearer(*roles, **every, exp=now + 3_600),
        "revoked": issuer.bearer(*roles, **every, sid="revoked"),
        "forged": forger.bearer(*roles, **every),
        "of another issuer": issuer.bearer(*roles, **every, iss="http://127.0.0.1:8081/issuer"),
        "for another audience": issuer.bearer(*roles, **every, aud="other"),
        "without an area": issuer.bearer("manager"),
        "of an unknown province": issuer.bearer("manager", province="IR-99"),
    }.items():
        yield Identity(name, bearer, valid=False)


def single_roles(issuer: Issuer, leads: Mapping[str, str]) -> Iterator[Identity]:
    """Yield each role in every area that its scope has, and narrower ones."""
    places = {"P": ("IR-20", "IR-23", *AREAS), "C": AREAS, "N": ("", "IR-23")}
    for role, scope in OFFICERS.items():
        if scope == "O":
            for lead in (*leads.values(), "l-unknown"):
                yield Identity(f"{role} {lead}", issuer.bearer(role, lead=lead), (role,), "", lead)
            continue
        for area in places[scope]:
            yield _officer(issuer, (role,), area)
    yield Identity("applicant", issuer.bearer("applicant"), ("applicant",))
    yield Identity("a service without the audience of one", issuer.bearer("consumer", id="reporting"))


def pairs_of_roles(issuer: Issuer, leads: Mapping[str, str]) -> Iterator[Identity]:
    """Yield each two roles in one county, and in the other province."""
    for roles in combinations(OFFICERS, 2):
        for area in (AREAS[0], AREAS[2]):
            yield _officer(issuer, roles, area, leads.get(area, "l-1"))


def _officer(issuer: Issuer, roles: tuple[str, ...], area: str, lead: str = "") -> Identity:
    province, _, county = area.partition("/")
    claims = {name: value for name, value in (("province", province), ("county", county)) if value}
    claims |= {"lead": lead} if "lead" in roles else {}
    name = f"{' + '.join(roles)} in {area or 'the whole country'}"
    return Identity(name, issuer.bearer(*roles, **claims), roles, area, claims.get("lead", ""))


class Matrix:
    """Sends the requests of identities to a world and counts checks; `leaks` are those that failed."""

    def __init__(self, world: World) -> None:
        self.world, self.checks, self.leaks = world, 0, list[str]()
        self.missing: dict[tuple[str, str, str], tuple[Any, ...]] = {}
        address = world.app.state.settings.public_url
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url=address)

    def check(self, holds: bool, what: str) -> None:
        """Count a check; keep what failed."""
        self.checks += 1
        if not holds:
            self.leaks.append(what)

    async def run(self, identities: Sequence[Identity], policies: Mapping[tuple[str, str], AccessPolicy]) -> None:
        """Send every closed operation of the world as each identity."""
        for (method, path), policy in policies.items():
            operation = self.world.operations[method, path]
            for identity in identities:
                admitted = admits(identity.roles, policy) if identity.valid else []
                await self._operation(method, path, operation, identity, admitted)

    async def _operation(
        self, method: str, path: str, operation: Operation, who: Identity, admitted: Sequence[str]
    ) -> None:
        if not admitted:
            area = next(iter(operation.ids), AREAS[0])
            response = await self._send(method, path, operation, area, who)
            expected = 403 if who.valid else 401
            code = {401: "unauthenticated", 403: "forbidden"}[expected]
            where = f"{method} {path} as {who.name}"
            self.check(response.status_code == expected, f"{where}: {response.status_code}, not {expected}")
            self.check(code in response.text and "etag" not in response.headers, f"{where}: {response.text[:200]}")
            self._unmarked(response, who, set(), where)
            return
        reaches = {area for area in AREAS if self._reaches(operation, who, admitted, area)}
        await getattr(self, f"_{operation.kind}")(method, path, operation, who, reaches)

    def _reaches(self, operation: Operation, who: Identity, admitted: Sequence[str], place: str) -> bool:
        if set(admitted) != {"lead"}:
            return contains(who.area, place[:5] if operation.provincial else place)
        own = next((area for area, lead in self.world.leads.items() if lead == who.lead), "")
        if operation.own_only:
            return place == own
        return bool(own) and place.startswith(own.partition("/")[0])

    async def _thing(self, method: str, path: str, operation: Operation, who: Identity, reaches: set[str]) -> None:
        for area in (*AREAS, MISSING):
            where = f"{method} {path} of {area} as {who.name}"
            response = await self._send(method, path, operation, area, who)
            self._unmarked(response, who, reaches, where, asked=operation.ids[area])
            if area in reaches:
                known = response.status_code != 404 or operation.other_missing in response.text
                self.check(known and response.status_code not in (401, 403), f"{where}: {response.status_code}")
                if tag := response.headers.get("etag"):
                    again = await self._send(method, path, operation, area, who, {"If-None-Match": tag})
                    self.check(again.status_code == 304, f"{where}: not revalidated")
                continue
            known_lead = "lead" not in who.roles or len(who.roles) > 1 or who.lead in self.world.leads.values()
            self.check(response.status_code == (404 if known_lead else 403), f"{where}: {response.status_code}")
            self.check("etag" not in response.headers, f"{where}: ETag")
            answer = _comparable(response)
            self.check(
                self.missing.setdefault((method, path, f"{known_lead}"), answer) == answer, f"{where}: differs {answer}"
            )
            for tag in ('"1"', '"1-1"', "*"):
                tagged = await self._send(method, path, operation, area, who, {"If-None-Match": tag})
                self.check(_comparable(tagged) == answer, f"{where}: If-None-Match {tag}")

    async def _list(self, method: str, path: str, operation: Operation, who: Identity, reaches: set[str]) -> None:
        known = {"lead"} != set(who.roles) or who.lead in self.world.leads.values()
        for query in ("", "limit=1", "province=IR-20", "province=IR-23", f"after={operation.cursor}"):
            if query == "after=":
                continue
            where, found, after, pages = f"GET {path}?{query} as {who.name}", "", "", 0
            while pages < 9:
                pages += 1
                sent = "&".join(filter(None, (operation.query, query, after)))
                response = await self._send(method, path, operation, AREAS[0], who, query=sent)
                self.check(response.status_code == (200 if known else 403), f"{where}: {response.status_code}")
                self._unmarked(response, who, reaches, where)
                found += response.text
                following = response.json().get("next") if "json" in response.headers["content-type"] else None
                if not following or "after" in query or not known:
                    break
                after = f"after={following}"
            asked = query.removeprefix("province=") if query.startswith("province=") else ""
            expected = {a for a in reaches if contains(asked, a) or not path.count("/v1/")} if known else set()
            if not query.startswith("after"):
                shown = {area for area, mark in operation.shown.items() if mark in found}
                self.check(shown == expected & set(operation.shown), f"{where}: shows {shown}, not {expected}")

    async def _directory(self, method: str, path: str, operation: Operation, who: Identity, _: set[str]) -> None:
        response = await self._send(method, path, operation, AREAS[0], who)
        self.check(response.status_code == 200, f"{method} {path} as {who.name}: {response.status_code}")

    async def _counts(self, method: str, path: str, operation: Operation, who: Identity, reaches: set[str]) -> None:
        for province in ("", "IR-20", "IR-23"):
            where = f"GET {path} of {province} as {who.name}"
            response = await self._send(method, path, operation, AREAS[0], who, query=f"province={province}")
            number = sum(contains(province, area) for area in reaches)
            body = response.json()
            self.check(body["states"].get("open", 0) == number, f"{where}: {body}, not {number}")
            self.check(body["overdue"] + body["due_today"] <= number, f"{where}: {body}")
            self._unmarked(response, who, reaches, where)

    async def _batch(self, method: str, path: str, operation: Operation, who: Identity, reaches: set[str]) -> None:
        where = f"{method} {path} as {who.name}"
        response = await self._send(method, path, operation, AREAS[0], who)
        self.check(response.status_code == 200, f"{where}: {response.status_code} {response.text[:200]}")
        items = response.json()["items"] if response.is_success else []
        outcomes = [{name: value for name, value in each.items() if name not in ("id", "producer")} for each in items]
        for area, outcome in zip((*AREAS, MISSING), outcomes, strict=True):
            self.check((outcome == outcomes[-1]) is (area not in reaches), f"{where}: {area} {outcome}")
            self.check(("not_found" in outcome.values()) is (area not in reaches), f"{where}: {area} {outcome}")

    async def _place(self, method: str, path: str, operation: Operation, who: Identity, reaches: set[str]) -> None:
        for area in AREAS:
            where = f"{method} {path} for {area} as {who.name}"
            response = await self._send(method, path, operation, area, who)
            other = "scope_other" in response.text
            self.check(other is (area not in reaches), f"{where}: {response.status_code} {response.text[:300]}")
            self.check(other is False or response.status_code >= 400, f"{where}: {response.status_code}")
            self._unmarked(response, who, reaches, where)

    async def _claim(self, method: str, path: str, operation: Operation, who: Identity, reaches: set[str]) -> None:
        where = f"{method} {path} as {who.name}"
        response = await self._send(method, path, operation, AREAS[0], who)
        self.check(response.status_code not in (401, 403), f"{where}: {response.status_code}")
        self._unmarked(response, who, reaches, where)

    async def _nation(self, method: str, path: str, operation: Operation, who: Identity, _: set[str]) -> None:
        where = f"{method} {path} as {who.name}"
        response = await self._send(method, path, operation, AREAS[0], who)
        self.check(response.status_code not in (401, 403), f"{where}: {response.status_code}")
        self.check(response.headers["x-content-type-options"] == "nosniff", where)

    def _unmarked(
        self, response: httpx.Response, who: Identity, reaches: set[str], where: str, *, asked: str = ""
    ) -> None:
        """Check that neither body nor headers show anything of an area that the identity does not reach."""
        text = (
            f"{response.text} {response.headers}".replace(asked, "") if asked else f"{response.text}{response.headers}"
        )
        found = {mark for area in AREAS if area not in reaches for mark in self.world.marks[area] if mark in text}
        self.check(not found, f"{where}: shows {found}")

    async def _send(
        self,
        method: str,
        path: str,
        operation: Operation,
        area: str,
        who: Identity,
        headers: Mapping[str, str] | None = None,
        query: str | None = None,
    ) -> httpx.Response:
        self.world.restore()
        url = path
        for name in ("{applicant}", "{id}"):
            url = url.replace(name, operation.ids.get(area, "x"))
        url = url.replace("{round_id}", "1404").replace("{province}", operation.ids.get(area, "IR-20"))
        query = operation.query if query is None else query
        options = dict(operation.options(area))
        sent = {**who.headers, **options.pop("headers", {}), **(headers or {})}
        response = await self.client.request(method, f"{url}?{query}" if query else url, headers=sent, **options)
        self.check(response.status_code < 500, f"{method} {path} as {who.name}: {response.text[:300]}")
        return response


def _comparable(response: httpx.Response) -> tuple[Any, ...]:
    """Return status, body and headers without what names this one request."""
    body = response.json() if "json" in response.headers.get("content-type", "") else {}
    headers = {k: v for k, v in response.headers.items() if k not in ("x-request-id", "content-length")}
    return response.status_code, {k: v for k, v in body.items() if k != "instance"}, headers
