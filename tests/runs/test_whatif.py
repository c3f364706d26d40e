"""The counterfactual: training without some windows."""

import numpy as np
import pytest
import torch

from tests.runs.tiny import TEXT, finish, make, same
from whence.data import WindowBatches
from whence.errors import WhenceError
from whence.runs.questions.whatif import WithoutWindows, find_text, what_if
from whence.train.losses import next_token_loss

BEER = "57 bottles of beer on the wall"


def test_windows_at_weight_0_give_the_gradient_of_the_others(whole):
    """Oracle: the batch with those rows taken out by hand."""
    session = whole.session()
    inner = session.batches
    ranges = find_text(whole.dataset, BEER)
    batches = WithoutWindows(inner, ranges, 16)
    step = next(k for k in range(200) if batches.touched(k).any())
    [(_, part)] = inner[step]
    keep = ~torch.from_numpy(batches.touched(step))
    by_hand = part._replace(inputs=part.inputs[keep], targets=part.targets[keep])
    next_token_loss(session.model, by_hand).backward()
    wanted = {n: p.grad.clone() for n, p in session.model.named_parameters()}
    session.model.zero_grad()
    [(weight, left)] = batches[step]
    assert weight == 1.0
    assert left.inputs.shape == part.inputs.shape
    next_token_loss(session.model, left).backward()
    for name, parameter in session.model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-5, atol=1e-7)


def test_parts_are_weighed_by_what_is_left():
    inner = WindowBatches(np.arange(90), context_length=8, batch_size=4, seed=0, accumulate=2)
    batches = WithoutWindows(inner, [(0, 20)], 8)
    for step in range(2):
        touched = batches.touched(step)
        parts = batches[step]
        counts = [int((p.targets >= 0).sum()) for _, p in parts]
        assert sum(counts) == 8 * (~touched).sum()
        assert [w for w, _ in parts] == [c / sum(counts) for c in counts]


def test_text_is_found_where_it_stands(whole):
    [(start, stop), *more] = find_text(whole.dataset, BEER)
    assert not more
    assert whole.tokenizer.decode(whole.dataset.train[start:stop]) == BEER
    assert TEXT.find(BEER) == start
    assert find_text(whole.dataset, "there is none of that") == []


def test_text_is_found_across_bytes_and_merges(tmp_path):
    from dataclasses import replace

    from tests.runs.tiny import RECIPE

    data = replace(RECIPE.data, tokenizer="bpe", vocab_size=300)
    run = make(tmp_path / "run", data=data)
    found = find_text(run.dataset, "ottles of bee")
    assert len(found) == TEXT[: int(0.9 * len(TEXT))].count("ottles of bee")
    for start, stop in found[:5]:
        assert "ottles of bee" in run.tokenizer.decode(run.dataset.train[start:stop])


def test_what_if_replays_without_the_windows(whole):
    answer = what_if(whole, BEER, 20)
    assert answer.dropped
    first = answer.dropped[0][0]
    assert all(step < 20 for step, _ in answer.dropped)
    assert same(answer.was.model.state_dict(), whole.at(20).model.state_dict())
    assert not same(answer.would_be.model.state_dict(), answer.was.model.state_dict())
    earlier = what_if(whole, BEER, first + 1)
    assert earlier.dropped == [d for d in answer.dropped if d[0] == first]
    was, would = earlier.losses()
    assert was == whole.at(first + 1).loss()
    assert was != would
    one, other = answer.evaluations(300)
    assert one.n_tokens == other.n_tokens
    assert all(0 < loss < 10 for loss in answer.text_losses())
    rows = list(answer.predictions("bottles of ", top=3))
    assert 3 <= len(rows) <= 6
    assert all(0 <= p <= 1 and 0 <= q <= 1 for _, p, q in rows)
    long = TEXT[:40]  # of a long prompt the model reads the last 16 characters
    assert list(answer.predictions(long)) == list(answer.predictions(long[-16:]))


def test_what_if_equals_training_without_them_by_hand(whole):
    answer = what_if(whole, BEER, 20)
    session = whole.session()
    from whence.train.loop import train

    batches = WithoutWindows(session.batches, answer.ranges, 16)
    for _ in train(session.forward, batches, session.loss, session.optimizer, range(20)):
        pass
    assert same(session.model.state_dict(), answer.would_be.model.state_dict())


def test_since_leaves_earlier_windows_in(whole):
    answer = what_if(whole, "beer", 20, since=18)
    assert min(step for step, _ in answer.dropped) >= 18


def test_refusals(whole):
    with pytest.raises(WhenceError, match="isn't in the training text"):
        what_if(whole, "wine", 20)
    with pytest.raises(WhenceError, match="isn't in the training text"):
        what_if(whole, "", 20)
    with pytest.raises(WhenceError, match="step 0 has no window left"):
        what_if(whole, "o", 20)
    with pytest.raises(WhenceError, match="has no step 21"):
        what_if(whole, BEER, 21)
    with pytest.raises(WhenceError, match=r"no window with .* was trained on"):
        what_if(whole, BEER, 0)
    with pytest.raises(WhenceError, match="the prompt is empty"):
        list(what_if(whole, BEER, 20).predictions(""))


def test_skip_tokens_of_a_recipe_are_read_but_not_predicted(tmp_path):
    from whence.runs.recipe import Change

    run = make(tmp_path / "run", change=Change(skip_tokens=((100, 2200),)), steps=3)
    finish(run)
    [(_, part)] = run.at(0).batch
    positions = part.starts[:, None] + 1 + np.arange(16)
    skipped = (positions >= 100) & (positions < 2200)
    assert skipped.any()
    assert ((part.targets.numpy() < 0) == skipped).all()
