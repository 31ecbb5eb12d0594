"""Pages of the gateway and of the development issuer: the templates of the operator's package, and those of `web`."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from programme.messages import localized
from web.pages import LANGUAGE_COOKIE, Pages

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def language(request: web.Request) -> str:
    """Return `fa` or `en`: from `?lang=`, else from what a client asks for, else from the cookie, else Persian."""
    lang = request.query.get("lang") or request.query.get("ui_locales") or request.cookies.get(LANGUAGE_COOKIE)
    return "en" if lang == "en" else "fa"


def page(
    request: web.Request, name: str, status: int = 200, *, query: Mapping[str, str] | None = None, **values: Any
) -> web.Response:
    """Return a page in the language of the reader; the link to the other language keeps `query`."""
    lang = language(request)
    text = (
        Pages("peyvand")
        .environment.get_template(name)
        .render(
            lang=lang,
            t=lambda fa, en: localized(fa, en, lang),
            here=request.path,
            other_language="?" + urlencode({**(query or {}), "lang": localized("en", "fa", lang)}),
            **values,
        )
    )
    return web.Response(
        status=status,
        text=text,
        content_type="text/html",
        charset="utf-8",
        headers={**HEADERS, "Content-Language": lang},
    )
