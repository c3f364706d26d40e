"""A GPT on counted n-grams: where it starts, what it must not see, and its cache."""

import numpy as np
import pytest
import torch

from whence.errors import WhenceError
from whence.generate.reader import Reader
from whence.models import NGram, NGramConfig, NGramGPT, NGramGPTConfig, build
from whence.train.losses import cross_entropy

CONFIG = NGramGPTConfig(order=3, n_layers=2, n_heads=2, d_model=16, context_length=16)
V = 6


def a_text(n: int = 600) -> np.ndarray:
    draw = np.random.default_rng(0)
    steps = draw.choice([1, 1, 1, 2, 5], n)
    return np.cumsum(steps) % V


def a_model() -> NGramGPT:
    torch.manual_seed(0)
    return NGramGPT(CONFIG, V).fit(a_text()).eval()


def test_it_starts_as_the_counted_model():
    tokens = torch.from_numpy(a_text(32)).view(2, 16)
    counted = NGram(NGramConfig(3), V).fit(a_text())
    torch.testing.assert_close(a_model()(tokens), counted(tokens))


def test_the_prior_in_training_leaves_each_target_out():
    text = a_text(40)
    tokens = torch.from_numpy(text[None, :16])
    targets = torch.from_numpy(text[None, 1:17]).clone()
    model = NGramGPT(CONFIG, V).fit(text)
    left_out = model.prior_in_training(tokens, targets)
    assert cross_entropy(left_out, targets) > cross_entropy(model.prior(tokens), targets)
    expected = model.ngram.leave_one_out(text[None, :16], text[None, 1:17])
    torch.testing.assert_close(left_out, torch.from_numpy(expected))
    targets[0, 3] = -100  # not counted: any prior will do there, the others stay
    again = model.prior_in_training(tokens, targets)
    torch.testing.assert_close(again[0, 4:], left_out[0, 4:])


def test_the_cache_gives_what_the_window_gives():
    model = a_model()
    torch.nn.init.normal_(model.gpt.head.weight)
    tokens = torch.from_numpy(a_text(12))[None]
    whole = model(tokens)
    cache = model.new_cache(1)
    with torch.inference_mode():
        pieces = [model(tokens[:, :5], cache)]
        pieces += [model(tokens[:, i : i + 1], cache) for i in range(5, 12)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-4)
    assert cache.length == 12
    reader = Reader(model, tokens)
    for i in range(20):  # beyond the window
        assert reader.logits().shape == (1, V)
        reader.append(torch.tensor([i % V]))


def test_the_counts_are_no_weights():
    model = a_model()
    assert not [name for name in model.state_dict() if "gpt." not in name]
    with pytest.raises(WhenceError, match="counted its text"):
        build(CONFIG, V)(torch.tensor([[1]]))


@pytest.mark.parametrize(("field", "value"), [("order", 0), ("memory_mb", 0)])
def test_a_bad_setting_is_refused(field, value):
    with pytest.raises(WhenceError, match=field):
        NGramGPTConfig(**{field: value})
