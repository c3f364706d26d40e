"""The server: OpenAI's paths around an engine."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from whence.data.tokenizers.length import TooLongError, check_length
from whence.errors import WhenceError
from whence.generate.generate import encode_prompt
from whence.interop.server.engine import BusyError, Engine, Job, Piece
from whence.interop.server.fields import ApiError, Asked, read_messages, read_settings, read_texts
from whence.interop.server.json_format import JsonFormat
from whence.interop.server.replies import Replies, embeddings, event
from whence.interop.talk.answers import Answer, new_id
from whence.interop.talk.conversation import conversation_ids
from whence.models import GPT
from whence.models.gpt.batch_decode import seat_bytes
from whence.runs.run import Run
from whence.runs.trained import step_of
from whence.scale.weights import Weights, store

LARGEST_BODY = 4 << 20  # bytes
ASK_AGAIN = 0.5  # seconds between two looks whether a client is still there


class Told(JSONResponse):
    """JSON in which half a character (a lone surrogate), which UTF-8 lacks, is an escape."""

    def render(self, content: Any) -> bytes:
        """Write the content."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class Service:
    """What the paths share: a run's model, and the engine that writes with it.

    Args:
        run: its model answers.
        seats: how many texts are written at once.
        waiting: how many more may wait.
        length: how many tokens prompt and answer may have together; None for what the model reads.
        api_key: what clients must know; None lets everybody in.
        memory: bytes that the keys and values of all texts may take; None for no bound. Where it
            has no room for as many texts as asked, fewer are written at once and more wait.

    Raises:
        WhenceError: where the run's model isn't a GPT, or one text doesn't fit into memory.

    Example:
        >>> Service(Run.open("runs/smollm")).app()  # doctest: +SKIP
    """

    def __init__(
        self,
        run: Run,
        seats: int = 8,
        waiting: int = 64,
        length: int | None = None,
        api_key: str | None = None,
        memory: int | None = None,
        weights: Weights = "fp32",
    ):
        model = run.model()
        if not isinstance(model, GPT):
            raise WhenceError(f"{run.path} isn't a GPT: the server works only with GPTs.")
        store(model, weights)
        self.run, self.model, self.tokenizer, self.weights = run, model, run.tokenizer, weights
        self.step, self.api_key = step_of(run, "best"), api_key
        self.seat_bytes = seat_bytes(model, length or model.config.context_length)
        if memory is not None and memory < self.seat_bytes:
            raise WhenceError(
                f"one text takes {self.seat_bytes / 1e6:,.1f} MB, and {memory / 1e6:,.1f} MB are "
                "allowed in all: give more --memory, or a smaller --context-length."
            )
        seats = seats if memory is None else min(seats, memory // self.seat_bytes)
        self.engine = Engine(model, run.tokenizer, seats, waiting, length)
        self.json_format = JsonFormat(run.tokenizer)
        self._embedding = asyncio.Lock()

    def app(self) -> Starlette:
        """Return the application."""
        paths = {
            "/v1/models": ("GET", self.models),
            "/v1/models/{name:path}": ("GET", self.one_model),
            "/v1/chat/completions": ("POST", self.chat),
            "/v1/completions": ("POST", self.completions),
            "/v1/embeddings": ("POST", self.embeddings),
        }

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await asyncio.to_thread(self.engine.close)

        return Starlette(
            routes=[Route(path, self._guarded(f), methods=[m]) for path, (m, f) in paths.items()],
            exception_handlers={HTTPException: _http_error, Exception: _fault},
            lifespan=lifespan,
        )

    def _guarded(self, answer: Any) -> Any:
        """Check the key, and report errors in the form that OpenAI's clients read."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_key(request)
                return await answer(request)
            except ApiError as error:
                return Told(error.body, error.status)
            except BusyError as error:
                body = ApiError(
                    429, str(error), code="rate_limit_exceeded", kind="server_busy"
                ).body
                return Told(body, 429, {"retry-after": "1"})
            except WhenceError as error:
                return Told(ApiError(400, str(error)).body, 400)

        return guarded

    def _check_key(self, request: Request) -> None:
        if self.api_key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if not hmac.compare_digest(given, self.api_key.encode()):
            raise ApiError(401, "Incorrect API key provided.", None, "invalid_api_key",
                           "authentication_error")  # fmt: skip

    async def _body(self, request: Request) -> dict[str, Any]:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # a page of another site can't send this without asking
            raise ApiError(415, "Send JSON, with the content-type application/json.")
        raw = bytearray()
        async for part in request.stream():
            raw += part
            if len(raw) > LARGEST_BODY:
                raise ApiError(413, f"The request is larger than {LARGEST_BODY >> 20} MB.")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, f"The request isn't valid JSON: {error}.") from error
        if not isinstance(body, dict):
            raise ApiError(400, "The request must be a JSON object.")
        name = body.get("model")
        if not isinstance(name, str):
            raise ApiError(400, "You must provide a model parameter.", "model")
        if name != self.run.name:
            raise ApiError(
                404, f"The model '{name[:80]}' does not exist: this server has '{self.run.name}'.",
                "model", "model_not_found",
            )  # fmt: skip
        return body

    def _card(self) -> dict[str, Any]:
        return {"id": self.run.name, "object": "model", "created": 0, "owned_by": "whence"}

    async def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return Told({"object": "list", "data": [self._card()]})

    async def one_model(self, request: Request) -> Response:
        """GET /v1/models/NAME."""
        name = request.path_params["name"]
        if name != self.run.name:
            raise ApiError(404, f"The model '{name}' does not exist.", "model", "model_not_found")
        return Told(self._card())

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        body = await self._body(request)
        asked = read_settings(body, self.tokenizer.vocab_size, chat=True)
        messages = read_messages(body)
        with self._told_of_length("messages"):
            ids = await asyncio.to_thread(
                conversation_ids, self.tokenizer, messages, self.engine.length
            )
        return await self._write(request, [ids], asked, chat=True)

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions."""
        body = await self._body(request)
        size = self.tokenizer.vocab_size
        asked = read_settings(body, size, chat=False)
        if body.get("echo"):
            raise ApiError(400, "This server doesn't support 'echo': leave it out.", "echo",
                           "unsupported")  # fmt: skip
        prompts = await self._encoded(read_texts(body, "prompt", size), "prompt")
        return await self._write(request, prompts, asked, chat=False)

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings: the mean of a text's vectors, of length 1."""
        body = await self._body(request)
        texts = read_texts(body, "input", self.tokenizer.vocab_size)
        form = body.get("encoding_format") or "float"
        if form not in ("float", "base64") or body.get("dimensions") is not None:
            raise ApiError(400, "'encoding_format' is float or base64, and 'dimensions' is fixed.",
                           "encoding_format")  # fmt: skip
        ids = await self._encoded(texts, "input")
        longest = max(map(len, ids))
        if longest > self.engine.length:
            raise self._too_long(str(longest), "input")
        async with self._embedding:  # one at a time, beside the texts that are written
            vectors = [await asyncio.to_thread(self._vector, one) for one in ids]
        n_tokens = sum(map(len, ids))
        return Told(embeddings(vectors, self.run.name, n_tokens, form == "base64"))

    async def _encoded(self, texts: Sequence[str | list[int]], param: str) -> list[list[int]]:
        """The texts' ids; other requests go on meanwhile."""
        with self._told_of_length(param):
            for text in texts:
                if isinstance(text, str):
                    check_length(self.tokenizer, text, self.engine.length)
        return await asyncio.to_thread(
            lambda: [encode_prompt(self.tokenizer, text) for text in texts]
        )

    @contextmanager
    def _told_of_length(self, param: str) -> Iterator[None]:
        try:
            yield
        except TooLongError as error:
            raise self._too_long(f"at least {error.least}", param) from error

    def _too_long(self, count: str, param: str) -> ApiError:
        return ApiError(
            400,
            f"This model's maximum context length is {self.engine.length} tokens, and the "
            f"{'text' if param == 'input' else 'prompt'} has {count}: shorten it.",
            param,
            "context_length_exceeded",
        )

    @torch.inference_mode()
    def _vector(self, ids: list[int]) -> list[float]:
        mean = self.model.vectors(torch.tensor([ids]))[0].float().mean(0)
        return torch.nn.functional.normalize(mean, dim=0).tolist()

    async def _write(
        self, request: Request, prompts: Sequence[list[int]], asked: Asked, chat: bool
    ) -> Response:
        for ids in prompts:
            if len(ids) >= self.engine.length:
                raise self._too_long(str(len(ids)), "messages" if chat else "prompt")
        number = new_id("chatcmpl" if chat else "cmpl")
        replies = Replies(number, self.run.name, self.tokenizer, chat, asked.n_top)
        queue: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        jobs = [
            self._job(ids, asked, asked.seed + i, i + p * asked.n, queue, loop)
            for p, ids in enumerate(prompts)
            for i in range(asked.n)
        ]
        if asked.form is not None:
            for job in jobs:
                job.guide = await asyncio.to_thread(self.json_format.guide, asked.form)
        self.engine.submit(*jobs)
        exchange = _Exchange(self, number, jobs, prompts, queue, replies)
        if asked.stream:
            return StreamingResponse(
                exchange.stream(asked.usage),
                media_type="text/event-stream",
                headers={"cache-control": "no-cache"},
            )
        return await exchange.whole(request)

    @staticmethod
    def _job(
        ids: list[int], asked: Asked, seed: int, index: int,
        queue: "asyncio.Queue[tuple[int, Piece | Exception]]", loop: asyncio.AbstractEventLoop,
    ) -> Job:  # fmt: skip
        def deliver(piece: Piece | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, (index, piece))

        return Job(
            ids, deliver, asked.max_tokens, asked.sampling, seed % 2**63, asked.stop,
            asked.frequency_penalty, asked.presence_penalty, asked.bias, asked.n_top or 0,
        )  # fmt: skip


class _Exchange:
    """One request while it is answered."""

    def __init__(
        self, service: Service, number: str, jobs: list[Job], prompts: Sequence[list[int]],
        queue: "asyncio.Queue[tuple[int, Piece | Exception]]", replies: Replies,
    ):  # fmt: skip
        self.service, self.number, self.jobs, self.queue = service, number, jobs, queue
        self.replies, self.prompts = replies, prompts
        self.pieces: list[list[Piece]] = [[] for _ in jobs]
        self.open = len(jobs)

    @property
    def n_prompt(self) -> int:
        return sum(map(len, self.prompts))

    async def whole(self, request: Request) -> Response:
        """Wait for the whole reply; cancel it if the client has disconnected."""
        try:
            clock = asyncio.get_running_loop().time
            looked = clock()
            while self.open:
                try:
                    async with asyncio.timeout(ASK_AGAIN):
                        self._take(*await self.queue.get())
                except TimeoutError:
                    pass
                if clock() - looked >= ASK_AGAIN:  # also while pieces come one after another
                    looked = clock()
                    if await request.is_disconnected():
                        return Response(status_code=499)
            self._keep()
            return Told(self.replies.whole(self.pieces, self.n_prompt))
        finally:
            self.service.engine.cancel(*self.jobs)

    async def stream(self, usage: bool) -> AsyncIterator[bytes]:
        """Yield each event; if the client disconnects, this generator is closed."""
        try:
            if self.replies.chat:
                for index in range(len(self.jobs)):
                    yield event(self.replies.chunk(index, [], None))
            held: list[list[Piece]] = [[] for _ in self.jobs]
            while self.open:
                index, piece = await self.queue.get()
                try:
                    self._take(index, piece)
                except ApiError as error:
                    yield event(error.body)
                    return
                assert isinstance(piece, Piece)
                held[index].append(piece)
                if piece.text or piece.finished:  # half a character waits for its other half
                    if any(p.text for p in held[index]) or self.replies.n_top is not None:
                        yield event(self.replies.chunk(index, held[index], None))
                    held[index] = []
                if piece.finished:
                    yield event(self.replies.chunk(index, [], piece.finished))
            self._keep()
            if usage:
                written = sum(map(len, self.pieces))
                yield event(self.replies.counts(self.n_prompt, written))
            yield event("[DONE]")
        finally:
            self.service.engine.cancel(*self.jobs)

    def _take(self, index: int, piece: Piece | Exception) -> None:
        if isinstance(piece, Exception):
            raise ApiError(500, f"The answer broke off: {piece}", kind="server_error")
        self.pieces[index].append(piece)
        self.open -= piece.finished is not None

    def _keep(self) -> None:
        """Keep the first answer, so that its tokens can be opened later."""
        written = [piece.token for piece in self.pieces[0] if piece.token is not None]
        service = self.service
        answer = Answer(self.number, service.step, self.prompts[0], written, service.weights)
        answer.save(service.run.path)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = f"{request.method} {request.url.path}: {error.detail}"
    return Told(ApiError(error.status_code, said).body, error.status_code)


async def _fault(request: Request, error: Exception) -> Response:
    said = f"The server failed ({type(error).__name__}): its log says where."
    return Told(ApiError(500, said, kind="server_error").body, 500)
