"""The development issuer's page: pick a role, and the province, county or lead enterprise that it needs."""

from collections.abc import Mapping
from functools import cache
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from peyvand.dev_issuer.identity import ROLES, Unfit
from programme.reference import counties, provinces

CARRIED = (
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "scope",
)
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
PRESELECTED = "IR-20"  # the province of the story that the simulation tells


def sign_in_page(given: Mapping[str, str], lang: str, redirect_uri: str, fault: Unfit | None = None) -> web.Response:
    """The role picker; what the client asked for is carried along in the form."""
    carried = {name: given[name] for name in CARRIED if given.get(name)}
    here = urlsplit(redirect_uri).path
    page = _template().render(
        lang=lang,
        t=lambda fa, en: fa if lang == "fa" else en,
        here="/issuer/authorize",
        other_language="?" + urlencode({**carried, "lang": "en" if lang == "fa" else "fa"}),
        carried=carried,
        roles=ROLES,
        provinces=provinces().values(),
        counties=_counties_by_province(),
        chosen={"province": PRESELECTED, "role": _likely_role(here), "county": "", "lead": "", "name": "", **given},
        fault=fault,
        sentence="" if fault is None else fault.persian if lang == "fa" else fault.english,
    )
    return web.Response(
        status=200 if fault is None else 422,
        text=page,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Cache-Control": "no-store",
            "Content-Language": lang,
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _likely_role(way_back: str) -> str:
    return {"screening": "screener", "market": "manager"}.get(way_back.strip("/").partition("/")[0], "registrar")


def _counties_by_province() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for county in counties().values():
        found.setdefault(county.province, []).append((county.code, county.name_fa))
    return found


@cache
def _template() -> Template:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("peyvand"), PackageLoader("web")]),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("sign_in.html")
