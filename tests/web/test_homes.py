"""Every role lands on a page with its work: of all its links each exists, and is open to this role."""

import re
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from contracts.codes import ROLES
from security.auth import PUBLIC
from security.permissions import PROGRAMS, ROLE_SCOPES, TABLE, permits
from tests.support.authorization import World
from tests.support.authorization_worlds import WORLDS
from web.app import policies
from web.authorization import AccessPolicy
from web.oidc_login import HOME
from web.pages import shared_pages

PEOPLE = [role for role in ROLE_SCOPES if role not in PROGRAMS]
CLAIMS: Mapping[str, Mapping[str, str]] = {
    "N": {},
    "P": {"province": "IR-20"},
    "C": {"province": "IR-20", "county": "2001"},
    "O": {"lead": "l-1"},
}
PROGRAMS_ONLY = {"read_owner"}  # actions of no person
ELSEWHERE = {  # actions that neither a page of their own nor the command line stands for
    "reports": "the ranking and the page of the province",
    "see_identity": "a part of the pages that find a person",
    "own_work": "the page itself",
    "correct": "a part of the page that finds a person",
    **dict.fromkeys(("move_seats", "sign_proposal"), "a part of the pages of proposals"),
}


async def worlds(folder: Path) -> dict[str, World]:
    """Return all services."""
    made = {}
    for name, make in WORLDS.items():
        (folder / name).mkdir()
        made[name] = await make(folder / name)
    return made


def policy_of(path: str, all_policies: Mapping[tuple[str, str], AccessPolicy]) -> AccessPolicy | None:
    """Return the policy of the page at this address, None if there is no such page."""
    for (method, template), policy in all_policies.items():
        if method == "GET" and re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            return policy
    return None


async def test_every_role_lands_on_a_page_whose_links_are_open_to_it(tmp_path: Path) -> None:
    made = await worlds(tmp_path)
    known = {where: each for world in made.values() for where, each in policies(world.app).items()}
    reporting = made["reporting"]
    transport = httpx.ASGITransport(reporting.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        for role in PEOPLE:
            for lang in ("fa", "en"):
                headers = {**reporting.issuer.bearer(role, **CLAIMS[ROLE_SCOPES[role]]), "Accept": "text/html"}
                page = await client.get(HOME, params={"lang": lang}, headers=headers)
                assert page.status_code == 200, role
                assert ROLES[role].text(lang) in page.text, role
                assert ("سمنان" if lang == "fa" else "Semnan") in page.text or "province" not in CLAIMS[
                    ROLE_SCOPES[role]
                ]
                links = {each.partition("?")[0] for each in re.findall(r'<a href="(/[^"]*)"', page.text)}
                assert len(links) >= 6
                for link in links - {HOME}:
                    policy = policy_of(link, known)
                    assert policy is not None, f"{role}: there is no page {link}"
                    assert policy.action == PUBLIC or role in policy.roles, f"{role} may not open {link}"


async def test_programs_have_no_such_page(tmp_path: Path) -> None:
    reporting = (await worlds(tmp_path))["reporting"]
    transport = httpx.ASGITransport(reporting.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
        headers = {**reporting.issuer.bearer("service"), "Accept": "text/html"}
        assert (await client.get(HOME, headers=headers)).status_code == 403
        redirect = await client.get(HOME, headers={"Accept": "text/html"})
        assert (redirect.status_code, redirect.headers["location"]) == (303, f"/sign-in?to={HOME}")


@pytest.mark.parametrize("action", [each for each in TABLE if each not in PROGRAMS_ONLY | ELSEWHERE.keys()])
def test_every_action_of_people_is_on_the_page(action: str) -> None:
    module = shared_pages().parts("role_links.html", "en")
    paged = {(name, access) for _, name, access, *_ in module.pages}
    assert action in {name for name, _ in paged} | module.without_page.keys(), "add it to role_links.html"
    for access in {access for name, access in paged if name == action}:
        assert any(permits((role,), action, access) for role in PEOPLE)
