"""Measuring takes a tenth of a training at most, and ends at once when it isn't wanted."""

from dataclasses import replace

import numpy as np
import torch

from tests.runs.tiny import RECIPE, SOURCE
from whence import Recipe, Record, Run
from whence.runs.tasks.text import Text
from whence.runs.training.events import Ended, Evaluated
from whence.train.evaluation import evaluate


def test_the_default_run_measures_all_of_its_validation_part():
    assert (Recipe().record.resolved(1000, Recipe().tokens_per_step).evaluate_tokens or 0) > 50_000


def test_a_short_run_on_a_long_text_measures_in_proportion():
    for steps, batch in ((60, 8 * 256), (5000, 64 * 256), (10, 16)):
        record = Record().resolved(steps, batch)
        measured = (1 + steps / (record.evaluate_every or 1)) * (record.evaluate_tokens or 0)
        tenth = 0.1 * 3 * steps * batch  # a token trained costs three times a token measured
        assert measured <= 1.01 * tenth or record.evaluate_tokens == 10_000
        assert record.evaluate_tokens <= 200_000


def test_what_was_asked_for_stays():
    assert Record(evaluate_tokens=77).resolved(100, 10).evaluate_tokens == 77


def test_progress_counts_the_batches_and_logits_stay_small():
    told: list[tuple[int, int]] = []
    rows: list[int] = []

    def model(tokens):
        rows.append(tokens.numel() * 4096)
        return torch.zeros(*tokens.shape, 4096)

    tokens = np.arange(3000) % 7
    for stride in (None, 32):
        told.clear()
        found = evaluate(
            model,
            tokens,
            context_length=64,
            stride=stride,
            n_bytes=1,
            vocab_size=4096,
            each=lambda done, total: told.append((done, total)),
        )
        assert found.n_tokens == 2999
        # the last window may be shorter, and is then a batch of its own
        assert [done for done, _ in told] == list(range(len(told)))
        assert {total for _, total in told} <= {len(told), len(told) - 1}
    assert max(rows) <= 1 << 22


def test_a_stop_during_the_last_measurement_is_obeyed_at_once(tmp_path, monkeypatch):
    record = Record(evaluate_every=5, evaluate_tokens=100, sample_tokens=0)
    run = Run.create(replace(RECIPE, record=record, steps=5), tmp_path / "run", SOURCE)
    asked = False

    def measure(self, model, n_tokens=None, precision=None, each=None):
        nonlocal asked
        asked = n_tokens is None
        each(0, 100)
        assert not asked, "the measurement went on"
        return evaluate_before(self, model, n_tokens, precision, each)

    evaluate_before = Text.evaluate
    monkeypatch.setattr(Text, "evaluate", measure)
    events = list(run.train(measuring=lambda done, total: asked))
    assert isinstance(events[-1], Ended)
    assert not any(isinstance(e, Evaluated) and e.whole for e in events)
    assert run.checkpoints[-1] == 5
