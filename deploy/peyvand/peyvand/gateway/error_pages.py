"""Responses of the gateway itself when no service answers: a problem for programs, a page for people."""

from typing import Any

from aiohttp import hdrs, web

from peyvand.gateway.pages import page
from web.problems import MEDIA_TYPE, problem

SERVER = {hdrs.SERVER: "peyvand"}  # without the versions that aiohttp names
RETRY_AFTER = "3"  # seconds in which a killed service is restarted


def error_response(request: web.Request, code: str, service: str = "", **details: Any) -> web.Response:
    """Return the gateway's own response: `application/problem+json`, or a page if a browser asks for one."""
    from peyvand.gateway.reverse_proxy import request_id

    reference = request_id(request)
    body = problem(code, instance=reference, **details)
    status = body["status"]
    headers = {"Cache-Control": "no-store", "X-Request-ID": reference, "X-Content-Type-Options": "nosniff"}
    if status >= 502:
        headers[hdrs.RETRY_AFTER] = RETRY_AFTER
    if status in (400, 408, 413):
        headers[hdrs.CONNECTION] = "close"  # the rest of the body is not read
    if _wants_page(request):
        response = page(request, "error.html", status, problem=body)
        response.headers.update(headers)
        return response
    if service:
        body["service"] = service
    return web.json_response(body, status=status, content_type=MEDIA_TYPE, headers=headers)


def _wants_page(request: web.Request) -> bool:
    return "text/html" in request.headers.get(hdrs.ACCEPT, "") and "/v1/" not in request.path
