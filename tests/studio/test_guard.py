"""Only this machine's browser, let in by its address, from the studio's own page, is answered."""

import http.server
import os
import re
import stat
import threading

import httpx
import pytest

from whence.cli import main
from whence.errors import WhenceError
from whence.studio.doors.door import OPENER, is_private, write_opener
from whence.studio.doors.guard import LARGEST_BODY


@pytest.fixture
def stranger(studio):
    base = f"http://127.0.0.1:{studio.port}"
    with httpx.Client(base_url=base, trust_env=False, headers={"origin": base}) as made:
        yield made


@pytest.fixture
def known(studio):
    with studio.client() as made:
        yield made


def test_known(known):
    assert known.get("/").status_code == 200
    assert known.get("/static/studio.js").status_code == 200
    assert known.post("/ask/runs", json={}).status_code == 200


@pytest.mark.parametrize("secret", [None, "", "wrong", "é"])
@pytest.mark.parametrize("path", ["/ask/runs", "/do/remove", "/events?run=bottles", "/openapi"])
def test_without_the_secret(stranger, path, secret):
    headers = {} if secret is None else {"x-whence-secret": secret.encode()}
    method = "GET" if path.startswith("/events") else "POST"
    reply = stranger.request(method, path, headers=headers)
    assert reply.status_code == 403
    assert "whence studio" in reply.text


def test_a_code_is_good_once(studio, stranger):
    code = studio.server.door.code()
    assert stranger.post("/enter", content="wrong").status_code == 403
    assert stranger.post("/enter", content=b"\xff").status_code == 403
    secret = stranger.post("/enter", content=code).json()["secret"]
    assert stranger.post("/enter", content=code).status_code == 403
    headers = {"x-whence-secret": secret}
    assert stranger.post("/ask/runs", json={}, headers=headers).status_code == 200
    assert stranger.post("/ask/runs", json={}, headers={"x-whence-secret": code}).status_code == 403


def test_a_code_from_another_page_is_refused(studio, stranger):
    """It isn't spent by it, either."""
    code = studio.server.door.code()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        reply = stranger.post("/enter", content=code, headers={"origin": origin})
        assert reply.status_code == 403
    assert stranger.post("/enter", content=code).status_code == 200


def test_each_start_has_another_secret(studio, known):
    studio.stop()
    studio.start()
    assert known.post("/ask/runs", json={}).status_code == 403


def test_no_other_port_is_told_anything(studio, page):
    """Another user's server on this machine, which the same browser visits."""
    heard = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            heard.append(self.headers)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>other</title>")

        def log_message(self, *_):
            pass

    page.goto(studio.address())
    page.locator("[data-view=runs][data-ready]").wait_for()
    assert page.context.cookies() == []
    secret = page.evaluate("localStorage.getItem('whence-secret')")
    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever).start()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        assert heard
        assert all(secret not in str(headers) for headers in heard)
        assert page.evaluate("localStorage.length") == 0
    finally:
        server.shutdown()
        server.server_close()


def test_a_browser_is_started_with_a_file_and_no_address(tmp_path, monkeypatch, capsys):
    opened = []

    def look(url):
        path = tmp_path / "runs" / OPENER
        opened.append((url, path.read_text(encoding="utf-8"), path.stat().st_mode))

    def serve(folder, port, ready, allowed):
        ready("http://127.0.0.1:1/?code=first")
        ready("http://127.0.0.1:1/?code=second")
        assert not (tmp_path / "runs" / OPENER).exists()

    monkeypatch.setattr("webbrowser.open", look)
    monkeypatch.setattr("whence.studio.server.serve", serve)
    monkeypatch.setenv("BROWSER", "there is one")
    assert main(["studio", "--runs", str(tmp_path / "runs")]) == 0
    [(url, page, mode)] = opened
    assert url.startswith("file:")
    assert "code" not in url
    assert "url=http://127.0.0.1:1/?code=first" in page
    if os.name != "nt":
        assert stat.S_IMODE(mode) == 0o600
    assert re.findall(r"code=\w+", capsys.readouterr().out) == ["code=first", "code=second"]


@pytest.mark.skipif(os.name == "nt", reason="Windows says who may read a file in another way")
def test_what_lay_there_is_not_written_to(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / OPENER).symlink_to(victim)
    made = write_opener(tmp_path, "http://127.0.0.1:1/?code=x")
    assert victim.read_text() == "mine"
    assert not made.is_symlink()
    assert is_private(made.stat())
    for mode in (0o640, 0o604, 0o620):
        made.chmod(mode)
        assert not is_private(made.stat())
    made.chmod(0o600)
    os.link(made, tmp_path / "second name")
    assert not is_private(made.stat())


@pytest.mark.skipif(os.name == "nt", reason="Windows says who may read a file in another way")
def test_a_file_that_others_could_read_holds_no_address(tmp_path, monkeypatch):
    """As on a file system without permissions, where everything is everyone's."""
    monkeypatch.setattr("whence.studio.doors.door.is_private", lambda _: False)
    with pytest.raises(WhenceError, match="by others"):
        write_opener(tmp_path, "http://127.0.0.1:1/?code=x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
def test_other_hosts(known, host):
    assert known.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", None])
def test_other_origins(known, origin):
    del known.headers["origin"]
    headers = {} if origin is None else {"origin": origin}
    assert known.post("/ask/runs", json={}, headers=headers).status_code == 403


def test_sizes(known, stranger):
    announced = known.post("/ask/runs", content=b"x" * (LARGEST_BODY + 1))
    assert announced.status_code == 413

    def chunks():
        for _ in range(LARGEST_BODY // 2**20 + 2):
            yield b" " * 2**20

    assert known.post("/ask/runs", content=chunks()).status_code == 413
    assert stranger.post("/enter", content=b"x" * 2000).status_code == 413
    assert stranger.post("/enter", content=(b"x" for _ in range(2000))).status_code == 413


@pytest.mark.parametrize(
    "run", ["../bottles", "..", "/etc", "a/b", "a\\b", "C:x", "", ".hidden", "x\0y", "nul\n"]
)
def test_names_stay_inside(known, run):
    reply = known.post("/ask/live", json={"run": run})
    assert reply.status_code == 422
    assert "isn't a run's name" in reply.json()["message"]


def test_links_out_of_the_folder(studio, known, tmp_path):
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", studio.folder / "link")
    reply = known.post("/ask/live", json={"run": "link"})
    assert "isn't a run's name" in reply.json()["message"]


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2e/server.py"])
def test_static_files_only(known, path):
    assert known.get(path).status_code in (403, 404)


def test_policy(known):
    policy = known.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy.split("script-src")[1].split(";")[0]


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"[]", 400), (b"[" * 100_000, 400), (b'{"a": 1}', 422)]
)
def test_bodies(known, body, status):
    reply = known.post("/ask/runs", content=body)
    assert reply.status_code == status
    assert reply.json()["message"]
