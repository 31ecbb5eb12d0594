"""aiohttp's server protocol with our own errors: what a client sent is neither quoted in a response nor logged."""

from typing import Any

import structlog
from aiohttp import hdrs, web

from peyvand.gateway.error_pages import SERVER, error_response
from web.problems import code_of

FORM_LIMIT = 1024  # kilobytes of a form that the issuer reads: aiohttp's own limit

log = structlog.get_logger(__name__)


class ErrorProtocol(web.RequestHandler):
    """One connection; its errors are problems for programs and pages for people, in Persian and English."""

    __slots__ = ()

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Return the response to a request that is malformed, or whose handler raised; it ends the connection."""
        if status < 500:
            log.info("malformed request refused", error=exc)
        else:
            log.error("request failed", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent: only closing shows that it is incomplete")
        response = error_response(request, code_of(status))
        response.force_close()
        return response

    async def finish_response(self, request: Any, resp: Any, start_time: Any) -> tuple[web.StreamResponse, bool]:
        """Send the rest of a response; an HTTP error of the library is replaced by one of ours."""
        if isinstance(resp, web.HTTPException) and resp.status >= 400:
            allowed = {hdrs.ALLOW: resp.headers[hdrs.ALLOW]} if hdrs.ALLOW in resp.headers else {}
            resp = error_response(request, code_of(resp.status), limit=FORM_LIMIT)
            resp.headers.update(allowed)
        if resp is not None and not resp.prepared:
            resp.headers.update(SERVER)
        return await super().finish_response(request, resp, start_time)
