"""Vectors in context: those of a word are those of its tokens, wherever it stands."""

import pytest
import torch
import torch.nn.functional as F

from tests.runs.tiny import finish, make
from whence.errors import WhenceError
from whence.runs.questions.embed import cosines

TEXTS = ["bottles of beer", "99 bottles on"]


def test_a_words_vector_is_the_mean_of_its_tokens(tmp_path):
    run = make(tmp_path / "run", steps=2)
    finish(run)
    model, entered, wanted = run.model(), [], []
    model.head.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    for text in TEXTS:
        with torch.inference_mode():
            model(torch.tensor([run.tokenizer.encode(text).tolist()]))
        at = text.index("bottles")  # a token is a character
        wanted.append(entered[-1][0, at : at + 7].mean(0))
    got = cosines(run, TEXTS, "bottles")
    want = F.cosine_similarity(wanted[0], wanted[1], dim=0)
    assert got[0][1] == pytest.approx(float(want), abs=1e-5)
    with pytest.raises(WhenceError, match="'wine' isn't in 'bottles of beer'"):
        cosines(run, TEXTS, "wine")
