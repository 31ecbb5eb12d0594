"""Requests that are no HTTP or hardly so, each with a word in it, as bytes for a socket."""

import asyncio
from collections.abc import Iterator

TIMEOUT = 10.0  # seconds


def malformed_requests(word: bytes, path: bytes = b"/registration/v1/rounds") -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each request."""
    host = b"Host: 127.0.0.1\r\n"
    bearer = b"Authorization: Bearer " + word + b"\r\n"
    get = b"GET " + path + b" HTTP/1.1\r\n" + host
    post = b"POST " + path + b" HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\n"
    yield "nothing but the word", word + b"\r\n\r\n"
    yield "the word as method", word + b" / HTTP/1.1\r\n" + host + b"\r\n"
    yield "the word as version", b"GET / HTTP/" + word + b"\r\n" + host + b"\r\n"
    yield "a header without a colon", get + b"Authorization Bearer " + word + b"\r\n\r\n"
    yield "a space before the colon", get + b"Authorization : " + word + b"\r\n\r\n"
    yield "the word as name of a header", get + word + b"\xff: x\r\n\r\n"
    yield "NUL in a header", get + b"Authorization: \0" + word + b"\r\n\r\n"
    yield "a bare line feed in a header", get + b"Authorization: " + word + b"\r" + word + b"\r\n\r\n"
    yield "a folded header", get + b"X-A: b\r\n\t" + word + b"\r\n\r\n"
    yield "two lengths", post + bearer + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n" + word
    yield "length and chunks", post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + word
    yield "the word as length", post + b"Content-Length: " + word + b"\r\n\r\n" + word
    yield "the word as encoding", post + b"Transfer-Encoding: " + word + b"\r\n\r\n" + word
    yield "the word as chunk", post + bearer + b"Transfer-Encoding: chunked\r\n\r\n" + word + b"\r\n\r\n"
    yield "the word as expectation", post + b"Expect: " + word + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    yield "the word as host", b"GET / HTTP/1.1\r\nHost: " + word + b":x\r\nConnection: close\r\n\r\n"
    yield "a host that is none", b"GET / HTTP/1.1\r\nHost: [" + word + b"\r\nConnection: close\r\n\r\n"
    yield "no host", b"GET / HTTP/1.1\r\nConnection: close\r\n" + bearer + b"\r\n"
    yield "two hosts", get + b"Host: " + word + b"\r\nConnection: close\r\n\r\n"
    yield "another host's target", b"GET http://" + word + b"/ HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    yield "a target that is none", b"GET http://[" + word + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    yield "a target without a slash", b"GET " + word + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    yield "CONNECT", b"CONNECT " + word + b":443 HTTP/1.1\r\n" + host + bearer + b"Connection: close\r\n\r\n"
    yield "OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + host + bearer + b"Connection: close\r\n\r\n"
    yield "another method", b"PROPFIND /" + word + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    yield "TRACE", b"TRACE /" + word + b" HTTP/1.1\r\n" + host + bearer + b"Connection: close\r\n\r\n"
    yield "an unknown path", b"GET /" + word + b"/" + word + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    broken = b"/%zz%00%ff" + word + b"?a=%ED%A0%80" + word
    yield "broken escapes", b"GET " + broken + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    yield "raw bytes in the target", b"GET /\xff\xfe" + word + b" HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
    yield "a long target", b"GET /" + word * 2_000 + b" HTTP/1.1\r\n" + host + b"\r\n"
    yield "a long header", get + b"Authorization: Bearer " + word * 5_000 + b"\r\n\r\n"
    yield "many headers", get + b"".join(b"X-%d: " % n + word + b"\r\n" for n in range(3_000)) + b"\r\n"
    yield "a rubbish cookie", get + b"Cookie: \xed\xa0\x80=" + word + b"; ;=" + word + b"\r\nConnection: close\r\n\r\n"
    yield "an upgrade", get + b"Connection: Upgrade\r\nUpgrade: " + word + b"\r\n\r\n" + word + b"\r\n\r\n"
    yield "a websocket", get + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + word + b"\r\n\r\n"
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + word * 10
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + word


async def answer(host: str, port: int, request: bytes) -> bytes:
    """Return everything that a server answers, until it closes the connection or nothing more comes."""
    reader, writer = await asyncio.open_connection(host, port)
    received = b""
    try:
        writer.write(request)
        async with asyncio.timeout(TIMEOUT):
            while chunk := await reader.read(1 << 16):
                received += chunk
                if b"connection: close" not in received.lower() and _is_whole(received):
                    break
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received


def _is_whole(response: bytes) -> bool:
    head, _, body = response.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return bool(lengths) and len(body) >= int(lengths[0])
