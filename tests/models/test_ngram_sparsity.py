import numpy as np
import pytest

from whence.errors import WhenceError
from whence.models.ngram.model import NGram, NGramConfig
from whence.models.ngram.sparsity import sparsity


def test_figures_worked_by_hand():
    # Token 3 never occurs in training. Pairs: 01 twice, 10, 12; triples: 010, 101, 012, once each.
    model = NGram(NGramConfig(3), 4).fit(np.array([0, 1, 0, 1, 2]))
    one, two, three = sparsity(model, held_out=np.array([0, 1, 2, 2, 3, 0, 1]))
    assert (one.possible, two.possible, three.possible) == (4, 16, 64)
    assert (one.distinct, two.distinct, three.distinct) == (3, 3, 3)
    assert (one.once, two.once, three.once) == (1, 2, 3)
    assert (one.contexts, two.contexts, three.contexts) == (1, 2, 2)
    assert two.followers == 1.5
    assert two.share_seen == 3 / 16
    # 0 alone, 01, 012, 2 alone, 3 never, 0 alone, 01.
    assert [o.matched for o in (one, two, three)] == pytest.approx([3 / 7, 2 / 7, 1 / 7])


def test_the_start_mark_is_not_an_outcome():
    model = NGram(NGramConfig(2), 4, start=0).fit(np.array([0, 1, 2, 0, 1]))
    one, two = sparsity(model, held_out=np.array([0, 1, 1]))
    assert (one.possible, one.distinct) == (3, 2)
    assert (two.distinct, two.once, two.contexts) == (2, 1, 2)
    assert (one.matched, two.matched) == (0.5, 0.5)
    assert sparsity(model)[0].matched is None


def test_probabilities_without_counts_have_no_sparsity():
    model = NGram(NGramConfig(2), 3).fit(np.array([0, 1, 2]))
    state = {name: values for name, values in model.state().items() if name != "count"}
    with pytest.raises(WhenceError, match="no counts"):
        sparsity(NGram(NGramConfig(2), 3).load_state(state))
