"""Whoever connects and says nothing takes the studio from nobody, and fills nobody's screen."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from whence.studio.doors import connections

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def small(tmp_path):
    """A studio of its own process that may have 128 files and connections."""
    limits = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)); "
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", f"{limits}from whence.cli import main; main()"),
            *("studio", "--no-browser", "--port", "0", "--runs", str(tmp_path / "runs")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?code=(\S+)", process.stdout.readline())
    yield process, int(found[1]), found[2]
    process.kill()
    process.communicate()


def silent(port: int, say: bytes) -> socket.socket:
    """A connection that says something, and no more."""
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    made.sendall(say)
    return made


HALVES = [
    b"",
    b"GET / HT",
    b"POST /enter HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nx",
    b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: " + b"a" * 22 + b"==\r\n\r\n",
]


@pytest.mark.skipif(os.name == "nt", reason="the number of files isn't limited there")
def test_half_open_connections(small):
    process, port, code = small
    base = f"http://127.0.0.1:{port}"
    secret = ""
    for say in HALVES:
        held = [silent(port, say) for _ in range(200)]
        try:
            with httpx.Client(base_url=base, trust_env=False, timeout=60) as client:
                client.headers["origin"] = base
                secret = secret or client.post("/enter", content=code).json()["secret"]
                held += [silent(port, say) for _ in range(200)]
                headers = {"x-whence-secret": secret}
                assert client.post("/ask/runs", json={}, headers=headers).status_code == 200
                # The page's own connection isn't the one that makes room for others.
                held += [silent(port, say) for _ in range(200)]
                assert client.post("/ask/runs", json={}, headers=headers).status_code == 200
        finally:
            for each in held:
                each.close()
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert len(errors.splitlines()) <= 8, errors[:2000]  # of 2,400 connections


def test_one_who_says_nothing_is_sent_away(studio, monkeypatch):
    monkeypatch.setattr(connections, "PATIENCE", 0.2)
    for say in (b"", b"GET / HTTP/1.1\r\nhost:", b"GET / HTTP/1.1\r\n\r\nGET"):
        with silent(studio.port, say) as held:
            while held.recv(4096):  # to its end: an answer, if there was a request
                pass


def test_a_slow_answer_is_waited_for(studio, monkeypatch):
    """The time is a request's, and not the answer's."""
    monkeypatch.setattr(connections, "PATIENCE", 1.0)
    monkeypatch.setattr("whence.studio.server.answer", lambda *_: time.sleep(2) or {"late": True})
    with studio.client(timeout=60) as client:
        assert b"late" in client.post("/ask/runs", json={}).content


def test_half_characters(studio):
    """A lone surrogate in any text of any request gets a sentence, in names and elsewhere."""
    half = "\ud800x"
    bodies = [
        ("ask/live", {"run": half}),
        ("ask/live", {"run": "bottles", half: 1}),
        ("ask/recipe", {"out": half}),
        ("ask/recipe", {"settings": {"model.n_layers": half}}),
        ("ask/recipe", {"settings": {half: 1}}),
        ("ask/recipe", {"source": half}),
        ("ask/prediction", {"run": "bottles", "prompt": half}),
        ("ask/strip", {"run": "bottles", "text": half}),
        ("ask/cell", {"run": "bottles", "address": half}),
        ("ask/play", {"data": half}),
        ("ask/journey", {"choices": [half]}),
        ("do/start", {"source": "text", "text": half}),
        ("do/start", {"source": "text", "text": "a b " * 99, "named": half}),
        ("do/fork", {"run": "bottles", "step": 3, "out": half}),
        ("do/remove", {"run": half}),
        (f"ask/{half}", {}),
    ]
    with studio.client(timeout=60) as client:
        for path, body in bodies:
            path = path.encode("utf-8", "surrogatepass").hex("%")
            reply = client.post(f"/%{path}", content=json.dumps(body))
            assert reply.status_code == 422, (path, body)
            assert reply.json()["message"]
        assert client.get("/events?run=%ED%A0%80").status_code == 404


@pytest.mark.skipif(os.name == "nt", reason="names are whole characters there")
def test_a_folder_whose_name_is_no_text(studio):
    """It is listed, and the page gets its list."""
    os.rename(studio.folder / "bottles", os.fsencode(studio.folder) + b"/b\xff")
    with studio.client(timeout=60) as client:
        assert client.post("/ask/runs", json={}).status_code == 200


@pytest.mark.skipif(os.name == "nt", reason="there are no such pipes")
def test_nobody_waits_for_a_pipe(studio):
    """A pipe that nobody writes to is refused at once, and other answers come."""
    (studio.folder / "texts").mkdir()
    os.mkfifo(studio.folder / "texts" / "pipe.txt")
    with studio.client(timeout=60) as client:
        for source in (str(studio.folder / "texts" / "pipe.txt"), "/dev/zero", "/dev/stdin", "-"):
            reply = client.post("/do/start", json={"source": source})
            assert reply.status_code == 422
            reply = client.post("/do/start", json={"settings": {"data.source": [source]}})
            assert reply.status_code == 422
        asked = {"run": "bottles", "prompt": "ten"}
        assert client.post("/ask/prediction", json=asked).status_code == 200


def test_nobody_waits_for_a_run_that_is_made(studio, monkeypatch):
    """The model answers while another's text is still being cut into tokens."""
    made = []

    def create(*_):
        with studio.client(timeout=60) as other:
            asked = {"run": "bottles", "prompt": "ten"}
            made.append(other.post("/ask/prediction", json=asked).status_code)
        raise RuntimeError("that was all")

    monkeypatch.setattr("whence.studio.processes.maker.create", create)
    with studio.client(timeout=60) as client:
        client.post("/do/start", json={})
    assert made == [200]


def test_lines_are_counted_and_not_printed(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(connections.time, "monotonic", lambda: now[0])
    said = connections.Said()
    for _ in range(1000):
        said.line("no room")
    now[0] += 61
    said.of_loop(None, {"message": "no descriptor"})
    assert capsys.readouterr().err.splitlines() == [
        "whence: no room",
        "whence: the studio: no descriptor (and 999 times the like since the last line)",
    ]
