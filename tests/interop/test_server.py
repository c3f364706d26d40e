"""The server, asked by OpenAI's own client."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import openai
import pytest
import torch
import uvicorn

from tests.interop.test_gguf import model as drawn
from tests.interop.theirs import NASTY, TEMPLATE, byte_level
from whence.data import text_source
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.errors import WhenceError
from whence.generate import generate
from whence.interop.server import app as module
from whence.interop.server.app import Service
from whence.interop.server.engine import Job
from whence.interop.talk.answers import find_answer, load_answer
from whence.interop.talk.conversation import conversation_ids
from whence.models import llama_config
from whence.runs.recipe import Data, Recipe
from whence.runs.run import Run
from whence.runs.start import start
from whence.runs.store.header import Origin

CONFIG = llama_config(n_layers=2, n_heads=2, d_model=32, context_length=128, d_ff=48)
TEXT = text_source("beer", lambda: [f"{i} bottles of beer on the wall.\n" for i in range(200)])
PICTURE = {"type": "image_url", "image_url": {"url": "x"}}
HELLO = [{"role": "user", "content": "Hello"}]


def chatty(path) -> Run:
    """A run of a model with random weights that can be talked to; it never ends by itself."""
    file = json.loads(byte_level().to_str())
    tokenizer = ImportedTokenizer({"tokenizer": file, "chat_template": TEMPLATE, "ends": []})
    weights = drawn(CONFIG, tokenizer.vocab_size).state_dict(keep_vars=True)
    recipe = Recipe(data=Data(("beer",), tokenizer="imported"), model=CONFIG, window=32)
    return start(path, recipe, TEXT, tokenizer, lambda: weights, Origin("x", 0, (), "import"))


@contextmanager
def serving(run: Run, **options):
    service = Service(run, **options)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(service.app(), log_level="error", timeout_graceful_shutdown=2)
    )
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield service, f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return chatty(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def served(run):
    with serving(run, seats=4) as found:
        yield found


@pytest.fixture
def client(served):
    with openai.OpenAI(base_url=served[1], api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
def test_weights_in_fewer_bits_are_served(run, weights):
    """Near what the whole model says, and an answer knows how it was written."""
    with serving(run, seats=2, weights=weights) as (service, url):
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
            got = client.chat.completions.create(
                model=run.name, messages=HELLO, max_tokens=5, temperature=0,
                logprobs=True, top_logprobs=2,
            )  # fmt: skip
            embedded = client.embeddings.create(model=run.name, input="one")
        first = got.choices[0].logprobs.content[0].logprob
        ids = torch.tensor([conversation_ids(run.tokenizer, HELLO)])
        whole = run.model()(ids)[0, -1].log_softmax(-1).max().item()
        assert first == pytest.approx(whole, abs={"bf16": 0.05, "int8": 0.1, "int4": 0.7}[weights])
        assert got.usage.completion_tokens == 5
        assert service.model.embed.weight.dtype == torch.bfloat16
        vector = torch.tensor(embedded.data[0].embedding)
        assert vector.norm().item() == pytest.approx(1, abs=1e-5)
        idle(service)
        assert load_answer(run.path, got.id).weights == weights


def idle(service: Service) -> None:
    while service.engine.load != (0, 0):
        time.sleep(0.01)


def test_models(client, run):
    assert [m.id for m in client.models.list()] == [run.name]
    assert client.models.retrieve(run.name).id == run.name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_a_greedy_completion_is_what_generate_writes(client, run):
    got = client.completions.create(
        model=run.name, prompt="99 bottles", temperature=0, max_tokens=40
    )
    want = generate(run.model(), run.tokenizer, "99 bottles", temperature=0, max_tokens=40)[0]
    assert got.choices[0].text == want
    assert got.choices[0].finish_reason == "length"
    assert got.usage.completion_tokens == 40
    assert got.usage.prompt_tokens == len(run.tokenizer.encode("99 bottles"))


def test_a_chat_is_written_with_the_models_template(client, run):
    got = client.chat.completions.create(
        model=run.name, messages=HELLO, temperature=0, max_tokens=20
    )
    ids = conversation_ids(run.tokenizer, HELLO)
    want = generate(run.model(), run.tokenizer, ids, temperature=0, max_tokens=20)[0]
    assert got.choices[0].message.content == want
    assert got.choices[0].message.role == "assistant"
    assert got.usage.prompt_tokens == len(ids)


def test_a_stream_joins_to_the_same_text_in_whole_characters(client, run):
    settings = {"model": run.name, "messages": HELLO, "seed": 5, "max_tokens": 60}
    whole = client.chat.completions.create(**settings)
    stream = client.chat.completions.create(
        **settings, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert len({c.id for c in chunks}) == 1


def test_an_emoji_is_never_split(client, run):
    """Its tokens are forced one after the other by a bias; each is a part of its bytes."""
    ids = run.tokenizer.encode("👍").tolist()
    assert len(ids) > 1
    want = run.tokenizer.decode(ids)
    bias = {str(i): 100 for i in ids}
    got = client.completions.create(
        model=run.name, prompt="a", max_tokens=60, logit_bias=bias, seed=1, stream=True
    )
    text = [chunk.choices[0].text for chunk in got]
    whole = client.completions.create(
        model=run.name, prompt="a", max_tokens=60, logit_bias=bias, seed=1
    )
    assert "".join(text) == whole.choices[0].text
    assert want
    # Bytes that make no character are shown as such, but never a half that is completed later.
    assert sum(piece.count("\ufffd") for piece in text) == whole.choices[0].text.count("\ufffd")


def test_stops_are_cut_out_across_pieces(client, run):
    settings = {"model": run.name, "prompt": "99", "temperature": 0, "max_tokens": 60}
    text = client.completions.create(**settings).choices[0].text
    stop = text[20:26]
    assert stop
    cut = client.completions.create(**settings, stop=[stop, "never there"])
    assert cut.choices[0].text == text[: text.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    stream = client.completions.create(**settings, stop=stop, stream=True)
    assert "".join(c.choices[0].text for c in stream) == text[: text.index(stop)]


def test_logprobs_are_the_models(client, run):
    got = client.chat.completions.create(
        model=run.name, messages=HELLO, temperature=0, max_tokens=3, logprobs=True, top_logprobs=4
    )
    ids = conversation_ids(run.tokenizer, HELLO)
    model = run.model()
    for token in got.choices[0].logprobs.content:
        with torch.inference_mode():
            logs = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        best = logs.topk(4)
        assert [t.logprob for t in token.top_logprobs] == pytest.approx(
            best.values.tolist(), rel=1e-3, abs=1e-3
        )
        assert token.logprob == pytest.approx(float(logs.max()), rel=1e-3, abs=1e-3)
        assert bytes(token.bytes) == run.tokenizer.decode_bytes([int(best.indices[0])])
        ids = [*ids, int(best.indices[0])]
    legacy = client.completions.create(model=run.name, prompt="a", max_tokens=2, logprobs=3)
    assert len(legacy.choices[0].logprobs.tokens) == 2
    assert len(legacy.choices[0].logprobs.top_logprobs[0]) >= 1


def test_choices_seeds_and_penalties(client, run):
    settings = {"model": run.name, "messages": HELLO, "max_tokens": 25}
    one, two = (
        client.chat.completions.create(**settings, n=3, seed=7, temperature=1.5) for _ in range(2)
    )
    texts = [c.message.content for c in one.choices]
    assert texts == [c.message.content for c in two.choices]
    assert len(set(texts)) == 3
    biased = client.completions.create(
        model=run.name, prompt="a", max_tokens=12, temperature=0, logit_bias={"40": 100}
    )
    assert biased.choices[0].text == run.tokenizer.decode([40] * 12)
    spread = client.completions.create(
        model=run.name, prompt="a", max_tokens=12, temperature=0, logit_bias={"40": 2},
        frequency_penalty=2, presence_penalty=2,
    )  # fmt: skip
    assert spread.choices[0].text != biased.choices[0].text
    several = client.completions.create(model=run.name, prompt=["a", "b"], max_tokens=4, n=2)
    assert [c.index for c in several.choices] == [0, 1, 2, 3]


def test_embeddings(client, run):
    got = client.embeddings.create(model=run.name, input=["one", "two", "one"])
    vectors = torch.tensor([d.embedding for d in got.data])
    assert vectors.shape == (3, 32)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    assert torch.equal(vectors[0], vectors[2])
    plain = client.embeddings.create(model=run.name, input="one", encoding_format="float")
    torch.testing.assert_close(torch.tensor(plain.data[0].embedding), vectors[0])


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 99}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 10**400}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"content": "x"}]}, "messages[0]"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"messages": [{"role": "user", "content": "word " * 500}]}, "messages"),
        (
            {"messages": [{"role": "user", "content": [PICTURE]}]},
            "messages[0].content",
        ),
    ],
)  # fmt: skip
def test_what_can_t_be_asked_is_told_by_field(client, run, change, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": run.name, "messages": HELLO, **change})
    assert caught.value.param == param


def test_a_prompt_that_can_t_fit_is_refused_before_it_is_cut(client, run, monkeypatch):
    fits = " bottles" * (CONFIG.context_length - 1)
    got = client.completions.create(model=run.name, prompt=fits, max_tokens=5)
    assert got.usage.prompt_tokens == CONFIG.context_length - 1

    def never(*_):
        raise AssertionError("cut")

    monkeypatch.setattr(ImportedTokenizer, "_cut", never)
    text = " bottles" * 400_000
    ask = [
        ("messages", lambda: client.chat.completions.create(
            model=run.name, messages=[{"role": "user", "content": text}])),
        ("prompt", lambda: client.completions.create(model=run.name, prompt=["a", text])),
        ("input", lambda: client.embeddings.create(model=run.name, input=text)),
    ]  # fmt: skip
    for param, asked in ask:
        with pytest.raises(openai.BadRequestError, match=r"has at least \d{6}") as caught:
            asked()
        assert (caught.value.param, caught.value.code) == (param, "context_length_exceeded")


def test_errors_of_http(served, run):
    _, url = served
    json_type = {"content-type": "application/json"}
    for path, options, status in [
        ("/chat/completions", {"content": "{", "headers": json_type}, 400),
        ("/chat/completions", {"content": "[]", "headers": json_type}, 400),
        ("/chat/completions", {"content": "{}", "headers": json_type}, 400),
        ("/chat/completions", {"content": "{}"}, 415),
        ("/chat/completions", {"json": {"model": "gpt-4", "messages": HELLO}}, 404),
        ("/nothing", {"json": {}}, 404),
        ("/models", {"json": {}}, 405),
        ("/completions", {"content": b'"' + b"x" * 10_000_000 + b'"', "headers": json_type}, 413),
    ]:
        got = httpx.post(url + path, timeout=30, **options)
        assert got.status_code == status, path
        assert set(got.json()["error"]) == {"message", "type", "param", "code"}


def test_clients_side_by_side_get_what_they_get_alone(client, run, served):
    prompts = [text for text in NASTY if text][:12]

    def ask(prompt: str) -> str:
        return client.completions.create(
            model=run.name, prompt=prompt, temperature=0, max_tokens=24
        ).choices[0].text  # fmt: skip

    alone = [ask(prompt) for prompt in prompts]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(ask, prompts))
    assert together == alone
    idle(served[0])


def test_a_client_that_leaves_frees_its_seat(client, run, served, monkeypatch):
    taken, take = [], module._Exchange._take
    monkeypatch.setattr(module, "ASK_AGAIN", 0.02)
    monkeypatch.setattr(module._Exchange, "_take", lambda *a: taken.append(a[1]) or take(*a))
    service, _ = served
    stream = client.completions.create(model=run.name, prompt="a", max_tokens=120, stream=True)
    next(iter(stream))
    stream.close()
    idle(service)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.05).completions.create(
            model=run.name, prompt=["a"] * 8, max_tokens=120, n=4
        )
    idle(service)
    assert len(taken) < 8 * 4 * 120  # though a piece came at each step, it was noticed


def test_more_than_may_ever_wait_is_refused(run):
    with serving(run, seats=1, waiting=2) as (service, url):
        client = openai.OpenAI(base_url=url, api_key="x", max_retries=0, timeout=60)
        with pytest.raises(openai.BadRequestError, match="ask for fewer"):  # never has room
            client.completions.create(model=run.name, prompt="a", n=5, max_tokens=5)
        assert service.engine.load == (0, 0)
        assert client.completions.create(model=run.name, prompt="a", n=2, max_tokens=5).choices


def test_the_key_is_asked_for(run):
    with serving(run, api_key="secret-key") as (_, url):
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=url, api_key="secret-kez", max_retries=0).models.list()
        assert list(openai.OpenAI(base_url=url, api_key="secret-key").models.list())
        assert httpx.get(url + "/models").status_code == 401


def test_an_answer_is_opened_later(client, run, capsys):
    from tests.cli.command import whence

    got = client.chat.completions.create(
        model=run.name, messages=HELLO, temperature=0, max_tokens=5
    )
    found = load_answer(run.path, got.id)
    assert run.tokenizer.decode(found.written) == got.choices[0].message.content
    assert found.prompt == conversation_ids(run.tokenizer, HELLO)
    assert find_answer(run.path.parent, got.id) == run.path
    assert whence("why", run.path, "--answer", got.id, "--token", 2, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    ids = [*found.prompt, found.written[0]]
    with torch.inference_mode():
        want = run.model()(torch.tensor([ids]))[0, -1, found.written[1]]
    assert told["receipt"]["value"] == pytest.approx(float(want), rel=2e-2, abs=2e-2)
    assert whence("why", run.path, "--answer", got.id, "--token", 9) == 2
    assert whence("why", run.path, "--answer", "chatcmpl-00") == 2


def test_a_fault_in_the_engine_ends_its_answers_and_no_more(client, run, served, monkeypatch):
    service, _ = served

    def broken(*tokens):
        raise RuntimeError("no memory")

    monkeypatch.setattr(service.engine.decoder, "step", broken)
    with pytest.raises(openai.InternalServerError, match="no memory"):
        client.completions.create(model=run.name, prompt="a", max_tokens=5)
    monkeypatch.undo()
    assert client.completions.create(model=run.name, prompt="a", max_tokens=5).choices[0].text
    monkeypatch.setattr(service.engine, "submit", broken)
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model=run.name, prompt="a", max_tokens=5)
    assert (caught.value.type, "RuntimeError" in caught.value.message) == ("server_error", True)


def test_half_a_character_in_what_is_refused(client):
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.with_options(default_headers={"content-type": "application/json"}).post(
            "/completions", cast_to=object, content=b'{"model": "\\ud800", "prompt": "x"}'
        )


def test_weights_that_are_no_numbers(tmp_path):
    broken = chatty(tmp_path / "broken")
    with (
        serving(broken) as (service, url),
        openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client,
    ):
        with torch.no_grad():
            service.model.embed.weight.fill_(torch.nan)
        with pytest.raises(openai.InternalServerError, match="not finite"):
            client.completions.create(model=broken.name, prompt="x", max_tokens=2, logprobs=2)


@pytest.mark.slow
def test_a_soak(client, run, served):
    """Many clients that stream, leave, err and wait: afterwards all seats are free."""
    service, _ = served

    def one(i: int) -> int:
        prompt = NASTY[i % len(NASTY)] or "x"
        try:
            stream = client.completions.create(
                model=run.name, prompt=prompt, max_tokens=1 + i % 40, seed=i, stream=True,
                n=1 + i % 2, stop=["e"] if i % 3 else None,
            )  # fmt: skip
            for count, _ in enumerate(stream):
                if i % 5 == 0 and count > 3:
                    stream.close()
                    break
        except openai.RateLimitError:
            return 1
        return 0

    with ThreadPoolExecutor(16) as pool:
        turned_away = sum(pool.map(one, range(120)))
    assert turned_away < 120
    idle(service)
    assert client.completions.create(model=run.name, prompt="a", max_tokens=5).choices[0].text


def test_a_run_that_holds_no_gpt(tmp_path):
    from tests.runs.tiny import finish, make
    from whence.models import RNNConfig

    other = make(tmp_path / "rnn", model=RNNConfig(d_model=16, context_length=16), steps=2)
    finish(other)
    with pytest.raises(WhenceError, match="a GPT"):
        Service(other)
    assert module.LARGEST_BODY < 10_000_000


def test_memory_bounds_how_many_are_written_at_once(run):
    with pytest.raises(WhenceError, match="give more --memory"):
        Service(run, memory=1000)
    one = 2 * 2 * 2 * 128 * 16 * 4  # layers · keys and values · heads · tokens · d · bytes
    with (
        serving(run, seats=8, waiting=1, memory=2 * one + 1) as (service, url),
        openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client,
    ):
        assert service.engine.decoder.room.nbytes == 2 * one
        held, go = threading.Event(), threading.Event()

        def hold(piece) -> None:
            held.set()
            go.wait()

        service.engine.submit(Job([1, 2], hold, max_tokens=2))
        held.wait()  # the engine stands still while the first text's token is delivered
        service.engine.submit(Job([1, 2], lambda piece: None, max_tokens=2))  # waits
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(model=run.name, prompt="99", max_tokens=2)
        assert caught.value.type == "server_busy"
        go.set()
        idle(service)
        got = client.completions.create(model=run.name, prompt="99", max_tokens=2)
        assert got.choices[0].finish_reason == "length"
