"""Only this machine's browser, with the token, from the studio's own page, is answered."""

import os

import httpx
import pytest

from whence.studio.guard import LARGEST_BODY, token_of


@pytest.fixture
def client(studio):
    with httpx.Client(base_url=f"http://127.0.0.1:{studio.port}", trust_env=False) as made:
        made.origin = {"origin": f"http://127.0.0.1:{studio.port}"}
        yield made


@pytest.fixture
def known(studio, client):
    assert client.get(f"/?token={studio.token}").status_code == 200
    return client


def test_token_once_then_cookie(known):
    assert known.get("/").status_code == 200
    assert known.get("/static/studio.js").status_code == 200
    assert known.post("/ask/runs", json={}, headers=known.origin).status_code == 200


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/static/studio.js", "/plotly.min.js"])
def test_without_the_token(client, path):
    reply = client.get(path)
    assert reply.status_code == 403
    assert "whence studio" in reply.text


def test_cookie_is_out_of_reach(studio, client):
    cookie = client.get(f"/?token={studio.token}").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil:80"])
def test_other_hosts(known, host):
    assert known.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", None])
def test_other_origins(known, origin):
    headers = {} if origin is None else {"origin": origin}
    assert known.post("/ask/runs", json={}, headers=headers).status_code == 403


def test_sizes(known):
    announced = known.post("/ask/runs", content=b"x" * (LARGEST_BODY + 1), headers=known.origin)
    assert announced.status_code == 413

    def chunks():
        for _ in range(LARGEST_BODY // 2**20 + 2):
            yield b" " * 2**20

    assert known.post("/ask/runs", content=chunks(), headers=known.origin).status_code == 413


@pytest.mark.parametrize(
    "run", ["../bottles", "..", "/etc", "a/b", "a\\b", "C:x", "", ".hidden", "x\0y", "nul\n"]
)
def test_names_stay_inside(known, run):
    reply = known.post("/ask/live", json={"run": run}, headers=known.origin)
    assert reply.status_code == 422
    assert "no run's name" in reply.json()["message"]


def test_links_out_of_the_folder(studio, known, tmp_path):
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", studio.folder / "link")
    reply = known.post("/ask/live", json={"run": "link"}, headers=known.origin)
    assert "no run's name" in reply.json()["message"]


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
    reply = known.post("/ask/runs", content=body, headers=known.origin)
    assert reply.status_code == status
    assert reply.json()["message"]


def test_token_is_its_owners_alone(tmp_path):
    token = token_of(tmp_path / "runs")
    assert token_of(tmp_path / "runs") == token
    if os.name != "nt":
        assert (tmp_path / "runs" / ".studio-token").stat().st_mode & 0o777 == 0o600
