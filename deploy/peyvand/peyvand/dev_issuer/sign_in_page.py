"""The development issuer's page: pick a role, and the province, county or lead enterprise that it needs."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from aiohttp import web

from contracts.commands import Refused
from peyvand.dev_issuer.identity import CHOSEN
from peyvand.gateway.pages import language, page
from programme.messages import message_text
from programme.reference import by_name, counties, provinces

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
PRESELECTED = "IR-20"  # the leader of the simulated round


def sign_in_page(
    request: web.Request, given: Mapping[str, str], redirect_uri: str, error: Refused | None = None
) -> web.Response:
    """Return the role picker; the parameters of the authorization request are hidden fields of its form."""
    carried = {name: given[name] for name in CARRIED if given.get(name)}
    role = _likely_role(urlsplit(redirect_uri).path)
    return page(
        request,
        "sign_in.html",
        422 if error else 200,
        query=carried,
        carried=carried,
        roles=CHOSEN,
        provinces=by_name(provinces().values(), language(request)),
        counties=_counties_by_province(language(request)),
        chosen={"province": PRESELECTED, "role": role, "county": "", "lead": "", "name": "", **given},
        error=error,
        message=message_text(error.code, language(request), **error.details) if error else "",
    )


def _likely_role(path: str) -> str:
    return {"screening": "screener", "market": "manager"}.get(path.strip("/").partition("/")[0], "registrar")


def _counties_by_province(lang: str) -> dict[str, list[tuple[str, str]]]:
    by_province: dict[str, list[tuple[str, str]]] = {}
    for county in by_name(counties().values(), lang):
        by_province.setdefault(county.province, []).append((county.code, county.name(lang)))
    return by_province
