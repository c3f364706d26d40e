"""The studio's server: thin routes around the answers, on this machine alone."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from whence.errors import WhenceError
from whence.studio.answers import answer
from whence.studio.answers.place import path_of
from whence.studio.commands import command
from whence.studio.crew import COMPUTED, CREW
from whence.studio.doors.connections import AT_ONCE, SAID, Connection
from whence.studio.doors.door import Door
from whence.studio.doors.guard import Guard
from whence.studio.stream import Streams
from whence.studio.texts import Texts
from whence.studio.wire import pack

STATIC = Path(__file__).parent / "static"
PORT = 8421


def application(
    texts: Texts, door: Door, port: int, streams: Streams, entered: Callable[[], None]
) -> ASGIApp:
    """Return the studio of a folder of runs.

    Args:
        texts: the folder of runs, and what its pages may train on.
        door: lets pages in.
        port: where it will be served.
        streams: the pages that watch a training.
        entered: called when a page has come in.
    """
    folder = texts.folder

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def enter(request: Request) -> Response:
        secret = door.enter((await request.body()).decode("utf-8", "replace"))
        if secret is None:
            return _message("The address was used already: take the one printed last.", 403)
        entered()
        return JSONResponse({"secret": secret})

    async def ask(request: Request) -> Response:
        name = request.path_params["name"]
        if name in COMPUTED:
            return await _told(
                request, lambda params: asyncio.wrap_future(CREW.ask(name, params, folder))
            )
        return await _told(
            request, lambda params: run_in_threadpool(lambda: pack(answer(name, params, texts)))
        )

    async def do(request: Request) -> Response:
        name = request.path_params["name"]
        return await _told(
            request, lambda params: run_in_threadpool(lambda: pack(command(name, params, texts)))
        )

    async def events(request: Request) -> Response:
        query, last = request.query_params, request.headers.get("last-event-id", "")
        start = last if last.isdecimal() else query.get("from", "")
        try:
            path = path_of(folder, query.get("run", ""))
        except WhenceError as error:
            return _message(str(error), 422)
        if not path.is_dir():
            return _message(f"there is no run {path.name}.", 404)
        known = min(int(start), 2**53) if start.isdecimal() else 0
        return StreamingResponse(streams.follow(path, known), media_type="text/event-stream")

    routes = [
        Route("/", page),
        Route("/enter", enter, methods=["POST"]),
        Route("/ask/{name}", ask, methods=["POST"]),
        Route("/do/{name}", do, methods=["POST"]),
        Route("/events", events),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Guard(Starlette(routes=routes), door, port)


def _message(text: str, status: int) -> Response:
    """A sentence for the page; half a character in it (a lone surrogate) goes as an escape."""
    return Response(json.dumps({"message": text}), status, media_type="application/json")


async def _told(
    request: Request, reply: Callable[[Mapping[str, Any]], Awaitable[bytes]]
) -> Response:
    """Read the parameters and reply; what is refused is said in a sentence."""
    try:
        params = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        return _message("The request is not JSON.", 400)
    if not isinstance(params, dict):
        return _message("The request isn't a JSON object.", 400)
    try:
        return Response(await reply(params))
    except WhenceError as error:
        return _message(str(error), 422)


def listen(port: int | None) -> socket.socket:
    """Return a socket on this machine's loopback: the usual port, or a free one.

    Args:
        port: the port; none: 8421, or any free one where that is taken.

    Raises:
        WhenceError: where the port that was asked for is taken, or is none.
    """
    if port is not None and not 0 <= port < 65536:
        raise WhenceError(f"port is {port}: give 1 to 65535, or 0 for a free one.")
    for wanted in (PORT, 0) if port is None else (port,):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where REUSEADDR would share the port
            exclusive = socket.SO_EXCLUSIVEADDRUSE  # type: ignore[attr-defined]  # Windows alone has it
            found.setsockopt(socket.SOL_SOCKET, exclusive, 1)
        else:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("127.0.0.1", wanted))
        except OSError:
            found.close()
            continue
        return found
    raise WhenceError(f"port {port} is taken: choose another with --port, or none for a free one.")


def serve(
    folder: Path, port: int | None, ready: Callable[[str], None], allowed: Sequence[Path] = ()
) -> None:
    """Serve the studio until Ctrl-C.

    Args:
        folder: where the runs are.
        port: as of `listen`.
        ready: called with an address that works once: when it can be opened, and again with the
            next one when a page has come in.
        allowed: files and folders that a page may train on, besides those of `folder`.

    Raises:
        WhenceError: where the port is taken, or something allowed isn't there.
    """
    texts = Texts(folder, allowed)
    with listen(port) as listener:
        server = Server(texts, listener.getsockname()[1], ready)
        listener.listen(AT_ONCE)
        ready(server.address())
        CREW.warm()
        try:
            server.run(sockets=[listener])
        finally:
            CREW.close()


class Server(uvicorn.Server):
    """A server of the studio that can end while pages watch.

    Args:
        texts: the folder of runs, and what its pages may train on.
        port: where it will be served.
        ready: called with the next address when a page has come in.
    """

    def __init__(self, texts: Texts, port: int, ready: Callable[[str], None] = lambda _: None):
        self.streams, self.door, self.port = Streams(), Door(), port
        app = application(texts, self.door, port, self.streams, lambda: ready(self.address()))
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",  # else a try at one, by anyone, is an error and a line of it
            loop="asyncio",
            backlog=AT_ONCE,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
        )
        super().__init__(config)

    def address(self) -> str:
        """Return an address by which one page can come in."""
        return f"http://127.0.0.1:{self.port}/?code={self.door.code()}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; problems with connections are reported at most once a minute."""
        asyncio.get_running_loop().set_exception_handler(SAID.of_loop)
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(128)  # may wait in the system's queue, where they take no descriptor

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first; otherwise they would go on for ever."""
        self.streams.close()
        await super().shutdown(sockets)
