"""The development issuer's page: pick a role, and the province, county or lead enterprise that it needs."""

from collections.abc import Mapping
from functools import cache
from urllib.parse import urlencode, urlsplit

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, Template, select_autoescape

from peyvand.dev_issuer.identity import ROLES, InvalidIdentity
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
PRESELECTED = "IR-20"  # the leader of the simulated round


def sign_in_page(
    given: Mapping[str, str], lang: str, redirect_uri: str, error: InvalidIdentity | None = None
) -> web.Response:
    """Return the role picker; the parameters of the authorization request are hidden fields of its form."""
    carried = {name: given[name] for name in CARRIED if given.get(name)}
    path = urlsplit(redirect_uri).path
    page = _template().render(
        lang=lang,
        t=lambda fa, en: fa if lang == "fa" else en,
        here="/issuer/authorize",
        other_language="?" + urlencode({**carried, "lang": "en" if lang == "fa" else "fa"}),
        carried=carried,
        roles=ROLES,
        provinces=provinces().values(),
        counties=_counties_by_province(),
        chosen={"province": PRESELECTED, "role": _likely_role(path), "county": "", "lead": "", "name": "", **given},
        error=error,
        message="" if error is None else error.persian if lang == "fa" else error.english,
    )
    return web.Response(
        status=200 if error is None else 422,
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


def _likely_role(path: str) -> str:
    return {"screening": "screener", "market": "manager"}.get(path.strip("/").partition("/")[0], "registrar")


def _counties_by_province() -> dict[str, list[tuple[str, str]]]:
    by_province: dict[str, list[tuple[str, str]]] = {}
    for county in counties().values():
        by_province.setdefault(county.province, []).append((county.code, county.name_fa))
    return by_province


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
