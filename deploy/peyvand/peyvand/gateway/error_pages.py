"""Responses of the gateway itself when no service answers: a problem for programs, a short page for people."""

from dataclasses import dataclass
from html import escape

from aiohttp import hdrs, web

RETRY_AFTER = "3"  # seconds in which a killed service is restarted


@dataclass(frozen=True)
class Message:
    """An error in both languages: what happened, and what to do."""

    title_fa: str
    title_en: str
    detail_fa: str
    detail_en: str


MESSAGES = {
    "malformed_request": Message(
        "این درخواست خوانده نمی‌شود",
        "This request cannot be read",
        "نشانی درخواست باید با / شروع شود.",
        "The target of a request must begin with /.",
    ),
    "body_too_large": Message(
        "این فایل بزرگ‌تر از اندازهٔ مجاز است",
        "This is larger than we accept",
        "چیزی ثبت نشد. لطفاً فایل را در چند بخش بفرستید.",
        "Nothing was stored. Please send it in several parts.",
    ),
    "service_away": Message(
        "این بخش چند لحظه در دسترس نیست",
        "This part is not available at the moment",
        "درخواست شما به سامانه نرسید و چیزی ثبت نشد. چند لحظه دیگر دوباره بفرستید.",
        "Your request did not reach it and nothing was stored. Please send it again in a moment.",
    ),
    "service_broke_off": Message(
        "پاسخ نیمه‌کاره ماند",
        "The response was interrupted",
        "نمی‌دانیم درخواست شما ثبت شد یا نه. همان را دوباره بفرستید؛ با همان کلید، دو بار ثبت نمی‌شود.",
        "It may have been stored. Send the same again: with the same Idempotency-Key it is never stored twice.",
    ),
    "service_silent": Message(
        "پاسخی نرسید",
        "The service did not answer in time",
        "نمی‌دانیم درخواست شما ثبت شد یا نه. همان را دوباره بفرستید؛ با همان کلید، دو بار ثبت نمی‌شود.",
        "It may have been stored. Send the same again: with the same Idempotency-Key it is never stored twice.",
    ),
}


def error_response(request: web.Request, status: int, code: str, *, service: str = "") -> web.Response:
    """Return the gateway's own response: `application/problem+json`, or a page if a browser asks for one."""
    from peyvand.gateway.reverse_proxy import request_id

    message, reference = MESSAGES[code], request_id(request)
    headers = {"Cache-Control": "no-store", "X-Request-ID": reference, "X-Content-Type-Options": "nosniff"}
    if status >= 502:
        headers[hdrs.RETRY_AFTER] = RETRY_AFTER
    if status in (400, 413):
        headers[hdrs.CONNECTION] = "close"  # the rest of the body is not read
    if _wants_page(request):
        return web.Response(
            status=status,
            text=_page(message, reference, english=_wants_english(request)),
            content_type="text/html",
            charset="utf-8",
            headers={**headers, "Content-Security-Policy": "default-src 'self'; img-src 'self' data:"},
        )
    problem = {
        "type": f"urn:peyvand:problem:{code}",
        "title": message.title_en,
        "title_fa": message.title_fa,
        "status": status,
        "code": code,
        "detail": message.detail_en,
        "detail_fa": message.detail_fa,
        "instance": reference,
        **({"service": service} if service else {}),
    }
    return web.json_response(problem, status=status, content_type="application/problem+json", headers=headers)


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get(hdrs.ACCEPT, "") and "/v1/" not in request.path


def _wants_english(request: web.Request) -> bool:
    language = request.query.get("lang") or request.cookies.get("peyvand_lang") or "fa"
    return language == "en"


def _page(message: Message, reference: str, *, english: bool) -> str:
    language, direction = ("en", "ltr") if english else ("fa", "rtl")
    bootstrap = "bootstrap.min.css" if english else "bootstrap.rtl.min.css"
    title, detail = (message.title_en, message.detail_en) if english else (message.title_fa, message.detail_fa)
    retry, label = ("Try again", "Reference") if english else ("دوباره", "کد پیگیری خطا")
    name = "Peyvand" if english else "پیوند"
    return f"""<!doctype html>
<html lang="{language}" dir="{direction}">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>{title} - {name}</title>
  <link rel="stylesheet" href="/assets/vendor/bootstrap/dist/css/{bootstrap}">
  <link rel="stylesheet" href="/assets/peyvand/peyvand.css">
</head>
<body>
<main id="main" class="container page">
  <h1>{title}</h1>
  <p class="lead mt-2">{detail}</p>
  <p><a class="btn btn-primary" href="">{retry}</a></p>
  <p class="xs muted">{label}: <span class="code">{escape(reference)}</span></p>
</main>
</body>
</html>
"""
