"""Who may talk to the studio: pages of this machine's browser that hold its secret; nobody else."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whence.studio.doors.connections import KNOWN
from whence.studio.doors.door import Door

LARGEST_BODY = 24 << 20  # bytes: a training text of 20 MB, and then some
LARGEST_OF_STRANGERS = 1 << 10  # a code
HEADERS = {
    # Scripts and styles from the studio's own files alone.
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
REFUSED = (
    "The studio doesn't know this page: open the address that 'whence studio' printed; each "
    "works once, and a studio that was started again has another."
)
SECRET = "x-whence-secret"  # the header that a page's secret comes in
OPEN = ("/", "/enter")  # these and the program's own files need no secret


class Guard:
    """Let a request through where its host, origin, secret and size are right.

    A page is the program's own files, which everyone may have; it gets the secret for the code in
    the address it was opened by (see `whence.studio.doors.door`), and sends it with each question.

    Args:
        app: what answers.
        door: knows the secret.
        port: of this server; a Host of another name or port is refused, so that no name that
            leads here (DNS rebinding) is of use.
    """

    def __init__(self, app: ASGIApp, door: Door, port: int):
        self.app, self.door = app, door
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # the studio has no web sockets
        headers = Headers(scope=scope)
        known = self.door.knows(headers.get(SECRET, ""))
        if known and KNOWN in scope.get("extensions", {}):
            scope["extensions"][KNOWN]()
        status, why = self._refusal(scope, headers, known)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
                static = scope["path"].startswith("/static/")  # asked for again, with its tag
                found.setdefault("cache-control", "no-cache" if static else "no-store")
            await send(message)

        if status:
            await PlainTextResponse(why, status)(scope, receive, guarded)
            return
        largest = LARGEST_BODY if known else LARGEST_OF_STRANGERS
        body = await _read(receive, largest)
        if len(body) > largest:
            await PlainTextResponse(_too_large(largest), 413)(scope, receive, guarded)
            return
        await self.app(scope, _with_body(body, receive), guarded)

    def _refusal(self, scope: Scope, headers: Headers, known: bool) -> tuple[int, str]:
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self.hosts or len(headers.getlist("host")) > 1:
            return 403, REFUSED
        asks_only = scope["method"] in ("GET", "HEAD")
        if origin != f"http://{host}" and not (asks_only and origin is None):
            return 403, "The studio answers its own pages only."
        if not (known or scope["path"] in OPEN or scope["path"].startswith("/static/")):
            return 403, REFUSED
        length, largest = headers.get("content-length", "0"), LARGEST_BODY
        if not known:
            largest = LARGEST_OF_STRANGERS
        if not length.isdecimal() or int(length[:20]) > largest:
            return 413, _too_large(largest)
        return 0, ""


def _too_large(largest: int) -> str:
    return f"That is too large: the studio takes {largest:,} bytes at once."


async def _read(receive: Receive, largest: int) -> bytes:
    """Read a body to its end, so that a reply gets through, but keep no more than is taken."""
    body = bytearray()
    while True:
        message = await receive()
        if len(body) <= largest:
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
