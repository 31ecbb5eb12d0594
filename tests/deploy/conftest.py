"""The command line against a stub server."""

import threading
from collections.abc import Iterator

import pytest

from peyvand.commands import main
from tests.support.stub_server import Run, StubServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubServer]:
    monkeypatch.delenv("PEYVAND_TOKEN", raising=False)
    server = StubServer()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def ran(*arguments: str) -> tuple[int, str, str]:
        code = main.main(arguments)
        output = capsys.readouterr()
        return code, output.out, output.err

    return ran
