"""The engine that writes many texts side by side: what is read together, and who fails."""

import threading

import pytest
import torch

from tests.interop.test_gguf import model as drawn
from whence.data import train_tokenizer
from whence.generate.sampling import Sampling
from whence.interop.server import engine as module
from whence.interop.server.engine import Engine, Job
from whence.models import llama_config

CONFIG = llama_config(n_layers=2, n_heads=2, d_model=32, context_length=64, d_ff=48)
TOKENIZER = train_tokenizer("bytes", lambda: ["ab"])
PROMPTS = [[1], [2, 3, 4, 5], [6, 7], [8] * 20, [9, 1]]


class Client:
    """Waits for its text, or for the error."""

    def __init__(self, ids, **asked):
        self.tokens, self.error, self.ended = [], None, threading.Event()
        self.job = Job(ids, self.take, 6, Sampling(temperature=0), **asked)

    def take(self, piece):
        if isinstance(piece, Exception):
            self.error = piece
        else:
            self.tokens.append(piece.token)
        if self.error or piece.finished:
            self.ended.set()


@pytest.fixture
def engine():
    made = Engine(drawn(CONFIG, TOKENIZER.vocab_size).eval(), TOKENIZER, seats=4)
    yield made
    made.close()


def ask(engine, *clients):
    engine.submit(*(client.job for client in clients))
    for client in clients:
        assert client.ended.wait(120)


def greedy(model, ids):
    with torch.inference_mode():
        for _ in range(6):
            ids = [*ids, int(model(torch.tensor([ids]))[0, -1].argmax())]
    return ids[-6:]


def test_prompts_that_wait_are_read_together_and_long_ones_alone(engine, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 12)
    read, groups = engine.decoder.read, []
    monkeypatch.setattr(
        engine.decoder, "read", lambda texts: groups.append([*texts.values()]) or read(texts)
    )
    clients = [Client(ids) for ids in PROMPTS]
    ask(engine, *clients)
    assert groups[:2] == [PROMPTS[:3], PROMPTS[3:4]]
    for client in clients:
        assert client.tokens == greedy(engine.decoder.model, client.job.ids)


def test_a_text_that_can_t_be_read_takes_no_other_along(engine):
    clients = [Client([1, 2]), Client([3, 999]), Client([4])]
    ask(engine, *clients)
    assert isinstance(clients[1].error, IndexError)
    for client in (clients[0], clients[2]):
        assert client.tokens == greedy(engine.decoder.model, client.job.ids)
    assert engine.load == (0, 0)
