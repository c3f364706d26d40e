"""Who may talk to the studio: pages of this machine's browser that know its token, and no other."""

import hmac
import os
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whence.errors import WhenceError

LARGEST_BODY = 24 << 20  # bytes: a training text of 20 MB, and then some
HEADERS = {
    # Scripts from the studio's own files alone; plotly sets styles on what it draws.
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
REFUSED = "The studio doesn't know you: open the address that 'whence studio' printed."


class Guard:
    """Let a request through where its host, origin, token and size are right.

    The token comes once in the address (`/?token=…`), and from then on in a cookie.

    Args:
        app: what answers.
        token: what a page must know.
        port: of this server; a Host of another name or port is refused, so that no name that
            leads here (DNS rebinding) is of use.
    """

    def __init__(self, app: ASGIApp, token: str, port: int):
        self.app, self.token, self.port = app, token, port
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self.cookie = f"whence-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # the studio has no web sockets
        headers = Headers(scope=scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        status, why = self._refusal(scope, headers, given)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
                static = scope["path"].startswith("/static/")  # asked for anew, with its tag
                found.setdefault("cache-control", "no-cache" if static else "no-store")
                if not status and given:
                    found["set-cookie"] = (
                        f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
                    )
            await send(message)

        if status:
            await PlainTextResponse(why, status)(scope, receive, guarded)
            return
        body = await _read(receive)
        if len(body) > LARGEST_BODY:
            await PlainTextResponse(_too_large(), 413)(scope, receive, guarded)
            return
        await self.app(scope, _with_body(body, receive), guarded)

    def _refusal(self, scope: Scope, headers: Headers, given: str) -> tuple[int, str]:
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self.hosts or len(headers.getlist("host")) > 1:
            return 403, REFUSED
        asks_only = scope["method"] in ("GET", "HEAD")
        if origin != f"http://{host}" and not (asks_only and origin is None):
            return 403, "The studio answers its own pages only."
        if not hmac.compare_digest((given or self._from_cookie(headers)).encode(), self._token):
            return 403, REFUSED
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LARGEST_BODY:
            return 413, _too_large()
        return 0, ""

    @property
    def _token(self) -> bytes:
        return self.token.encode()

    def _from_cookie(self, headers: Headers) -> str:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return found.value if found else ""


def _too_large() -> str:
    return f"That is too large: the studio takes {LARGEST_BODY >> 20} MB at once."


async def _read(receive: Receive) -> bytes:
    """Read a body to its end, so that a reply gets through, but keep no more than is taken."""
    body = bytearray()
    while True:
        message = await receive()
        if len(body) <= LARGEST_BODY:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _with_body(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def token_of(folder: Path) -> str:
    """Return the token of a folder of runs, made on first use and readable by its owner alone.

    It stays the same, so that a page that is open goes on after the studio was started again.

    Raises:
        WhenceError: where the folder can't be written.
    """
    path = folder / ".studio-token"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = path.read_text(encoding="ascii").strip() if path.is_file() else ""
        if len(known) >= 32 and known.replace("-", "").replace("_", "").isalnum():
            return known
        path.unlink(missing_ok=True)
        token = secrets.token_urlsafe(32)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(token + "\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WhenceError(
            f"{folder} can't be written ({reason}): name another folder with --runs."
        ) from error
    return token
