"""Measuring takes a tenth of a training at most, and ends at once when it isn't wanted."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from tests.runs.tiny import CPU, RECIPE, SOURCE, TEXT
from whence import Recipe, Record, Run
from whence.data import text_source
from whence.errors import WhenceError
from whence.runs.recipe import usual
from whence.runs.tasks.pairs import some_of
from whence.runs.tasks.text import Text
from whence.runs.training.events import Ended, Evaluated
from whence.train.evaluation import evaluate, spread


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


# Half of what is kept for validation is one letter, the other half is not: a look at its beginning
# says nothing of the whole.
UNEVEN = TEXT + "a" * 1000 + "0123456789" * 100


def test_a_part_of_a_text_is_measured_in_windows_all_over_it():
    tokens = np.random.default_rng(0).integers(0, 7, 1001)
    torch.manual_seed(0)
    model = torch.nn.Embedding(7, 7)
    starts, length = spread(len(tokens), 10, 50)
    found = evaluate(model, tokens, starts=starts, context_length=length, n_bytes=50)
    assert (found.n_tokens, length) == (50, 10)
    assert starts.tolist() == [100, 300, 500, 700, 900]  # of 100 windows, each in the middle of 20
    places = torch.tensor([s + i for s in starts.tolist() for i in range(10)])
    logits, targets = model(torch.tensor(tokens))[places], torch.tensor(tokens)[places + 1]
    with torch.no_grad():
        assert found.loss == pytest.approx(
            torch.nn.functional.cross_entropy(logits, targets).item()
        )


@pytest.mark.parametrize("kind", ["gpt", "rnn", "ngram"])
def test_a_usual_measurement_is_near_the_whole_one(kind, tmp_path):
    source = text_source("uneven", lambda: [UNEVEN])
    data = replace(RECIPE.data, validation=2000 / len(UNEVEN))
    recipe = replace(usual(RECIPE, kind), data=data, hardware=CPU)
    small = {"n_layers": 1, "d_model": 16, "context_length": 16}
    known = {f.name: small[f.name] for f in fields(recipe.model) if f.name in small}
    record = replace(RECIPE.record, evaluate_tokens=300, sample_tokens=0)
    recipe = replace(recipe, model=replace(recipe.model, **known), record=record)
    run = Run.create(recipe, tmp_path / "run", source)
    part, whole = [e for e in run.train() if isinstance(e, Evaluated)][-2:]
    assert not part.whole
    assert part.evaluation.n_tokens <= 300
    assert whole.whole
    assert part.evaluation.loss == pytest.approx(whole.evaluation.loss, rel=0.1)
    assert run.task.evaluate(run.model("last"), 300) == part.evaluation


def test_pairs_are_measured_all_over_the_held_out_ones(tmp_path):
    pairs = [np.array([i, 0, 1, 1]) for i in range(2, 102)]
    assert [int(pair[0]) for pair in some_of(pairs, 20)] == [12, 32, 52, 72, 92]


def test_characters_that_a_model_has_never_seen_are_left_out_and_counted(tmp_path):
    run = Run.create(replace(RECIPE, steps=1), tmp_path / "run", SOURCE)
    for _ in run.train():
        pass
    found = run.evaluate("50 bot∮tles o∮f bee→r.", at="last")
    assert found.left_out == {"∮": 2, "→": 1}
    known = run.evaluate("50 bottles of beer.", at="last")
    assert (found.loss, found.n_tokens) == (known.loss, known.n_tokens)
    with pytest.raises(WhenceError, match=r"none of the 2[0-9] characters that this model"):
        run.evaluate("∮→∮→", at="last")
