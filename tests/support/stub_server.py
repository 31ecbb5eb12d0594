"""A server that gives prepared answers, and the command line run against it."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

TABLE = {
    "table": "composite",
    "as_of": "2025-10-01T08:00:00Z",
    "events": 12345,
    "rows": [
        {"province": "IR-20", "rank": 1, "shown": "52.21690", "counts": {"quota": 1300, "registered": 3021}},
        {"province": "IR-07", "rank": None, "shown": "0.00", "counts": {"registered": 2}},
    ],
}
Reply = tuple[int, Any]
Run = Callable[..., tuple[int, str, str]]


class StubServer:
    """A public address with prepared responses, which records the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.replies: dict[str, list[Reply]] = {
            "/issuer/token": [(200, {"access_token": "t0ken"})],
            "/v1/ranking": [(200, TABLE)],
            "/v1/ranking.csv": [(200, b"rank,province\n1,IR-20\n")],
        }
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append((self.command, self.path, dict(self.headers), body))
                replies = server.replies.get(urlsplit(self.path).path, [(404, {"detail": "not found"})])
                status, content = replies.pop(0) if len(replies) > 1 else replies[0]
                raw = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def to(self, path: str) -> list[tuple[str, str, dict[str, str], bytes]]:
        return [each for each in self.requests if urlsplit(each[1]).path == path]
