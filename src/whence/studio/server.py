"""The studio's server: thin routes around the answers, on this machine alone."""

import json
import socket
from collections.abc import Callable, Mapping
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
from whence.studio.guard import Guard, token_of
from whence.studio.stream import Streams
from whence.studio.wire import pack

STATIC = Path(__file__).parent / "static"
PORT = 8421


def application(folder: Path, token: str, port: int, streams: Streams) -> ASGIApp:
    """Return the studio of a folder of runs.

    Args:
        folder: where the runs are.
        token: what a page must know.
        port: where it will be served.
        streams: the pages that watch a training.
    """

    async def page(request: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def ask(request: Request) -> Response:
        name = request.path_params["name"]
        return await _told(request, lambda params: Response(pack(answer(name, params, folder))))

    async def do(request: Request) -> Response:
        name = request.path_params["name"]
        return await _told(request, lambda params: Response(pack(command(name, params, folder))))

    async def events(request: Request) -> Response:
        query, last = request.query_params, request.headers.get("last-event-id", "")
        start = last if last.isdecimal() else query.get("from", "")
        try:
            path = path_of(folder, query.get("run", ""))
        except WhenceError as error:
            return JSONResponse({"message": str(error)}, 422)
        if not path.is_dir():
            return JSONResponse({"message": f"there is no run {path.name}."}, 404)
        known = min(int(start), 2**53) if start.isdecimal() else 0
        return StreamingResponse(streams.follow(path, known), media_type="text/event-stream")

    routes = [
        Route("/", page),
        Route("/ask/{name}", ask, methods=["POST"]),
        Route("/do/{name}", do, methods=["POST"]),
        Route("/events", events),
        Route("/plotly.min.js", _plotly),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Guard(Starlette(routes=routes), token, port)


async def _told(request: Request, reply: Callable[[Mapping[str, Any]], Response]) -> Response:
    """Read the parameters and reply, from another thread; what is refused is said in a sentence."""
    try:
        params = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        return JSONResponse({"message": "The request is not JSON."}, 400)
    if not isinstance(params, dict):
        return JSONResponse({"message": "The request is no JSON object."}, 400)
    try:
        return await run_in_threadpool(reply, params)
    except WhenceError as error:
        return JSONResponse({"message": str(error)}, 422)


async def _plotly(request: Request) -> Response:
    from importlib.util import find_spec

    found = find_spec("plotly")
    path = Path(found.origin or "").parent / "package_data" / "plotly.min.js" if found else STATIC
    if not path.is_file():
        return JSONResponse({"message": "Charts to zoom need plotly: pip install plotly."}, 404)
    return FileResponse(path, headers={"cache-control": "private, max-age=86400"})


def listen(port: int | None) -> socket.socket:
    """Return a socket on this machine's loopback: the usual port, or a free one.

    Args:
        port: the port; none: 8421, or any free one where that is taken.

    Raises:
        WhenceError: where the port that was asked for is taken, or is none.
    """
    if port is not None and not 0 <= port < 65536:
        raise WhenceError(f"port {port} is none: give 1 to 65535, or 0 for a free one.")
    for wanted in (PORT, 0) if port is None else (port,):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows, where REUSEADDR would share the port
            exclusive = socket.SO_EXCLUSIVEADDRUSE  # type: ignore[attr-defined]
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


def serve(folder: Path, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve the studio until Ctrl-C.

    Args:
        folder: where the runs are.
        port: as of `listen`.
        ready: called with the address, token and all, once it can be opened.

    Raises:
        WhenceError: where the port is taken or the folder can't be written.
    """
    token = token_of(folder)
    with listen(port) as listener:
        bound: int = listener.getsockname()[1]
        server = Server(folder, token, bound)
        listener.listen(128)
        ready(f"http://127.0.0.1:{bound}/?token={token}")
        server.run(sockets=[listener])


class Server(uvicorn.Server):
    """A server of the studio that can end while pages watch.

    Args:
        folder: where the runs are.
        token: what a page must know.
        port: where it will be served.
    """

    def __init__(self, folder: Path, token: str, port: int):
        self.streams = Streams()
        config = uvicorn.Config(
            application(folder, token, port, self.streams),
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first, which else would go on for ever."""
        self.streams.close()
        await super().shutdown(sockets)
