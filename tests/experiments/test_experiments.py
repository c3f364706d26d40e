"""The experiments: each reports, and those that take seconds find what they should."""

import json
import math
import sys

import pytest
import torch

from tests.cli.command import whence
from whence.experiments.common import (
    AMOUNT,
    Interval,
    accuracy,
    learn,
    mean_interval,
    share_interval,
)
from whence.experiments.inside.induction import repeated, shape
from whence.experiments.inside.memory import ASK, GAPS, KINDS, fade, recall
from whence.experiments.inside.order import NAMES, order, sentences
from whence.experiments.table import EXPERIMENTS
from whence.experiments.text.counted import bigram
from whence.experiments.text.first import first
from whence.experiments.text.smoothing import smoothing
from whence.experiments.text.texts import texts
from whence.experiments.text.words import encoder_weights, it
from whence.models import build

QUICK = {
    "order": ("--seeds", 1, "--steps", 2),
    "memory": ("--seeds", 1, "--steps", 2),
    "parts": ("--seeds", 1, "--steps", 2),
    "first": (
        "--seeds",
        2,
    ),
    "induction": ("--seeds", 1, "--steps", 30),
    "it": ("--seeds", 1, "--steps", 2),
    "senses": ("--seeds", 2, "--steps", 2),
    "texts": ("--seeds", 1, "--steps", 2),
}


@pytest.mark.parametrize("name", QUICK)
def test_each_is_one_command_with_a_table_and_an_answer(name, capsys):
    assert whence("experiment", name, *QUICK[name], "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["question"].endswith("?")
    assert report["answer"].endswith(".")
    assert all(len(row) == len(report["columns"]) for row in report["rows"])


def test_they_are_listed_and_bad_names_and_flags_are_told(capsys):
    assert whence("experiment") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in EXPERIMENTS)
    assert whence("experiment", "odrer") == 2
    assert "did you mean order?" in capsys.readouterr().err
    assert whence("experiment", "smoothing", "--seeds", 3) == 2
    assert "takes no --seeds" in capsys.readouterr().err


def test_intervals():
    found = mean_interval([2.0, 4.0, 6.0], AMOUNT)
    assert found.mean == 4
    assert found.high - found.mean == pytest.approx(4.303 * 2 / math.sqrt(3), rel=1e-3)
    share = share_interval(44, 60)
    assert (round(share.low, 3), round(share.high, 3)) == (0.610, 0.829)
    assert f"{Interval(1.0, -math.inf, math.inf):.1f}" == "1.0"


def test_the_loop_reaches_the_counted_bigram_and_its_prior():
    data = bigram(n=5000, steps=300).data
    assert abs(data["maximum likelihood"]["learned"] - data["maximum likelihood"]["counted"]) < 1e-3
    assert data["add-one"]["largest_difference"] < 1e-3


def test_a_trigram_with_add_one_is_worse_than_the_bigram():
    data = smoothing().data
    assert data["add-k"][2] > data["add-k"][1]
    assert data["kneser-ney"][2] < data["kneser-ney"][1]
    if sys.version_info[:2] == (3, 11):  # the text is that version's documentation
        assert data["add-k, lower case"][:3] == pytest.approx([82.9, 48.3, 98.8], abs=0.1)


def test_without_positions_only_a_mask_tells_order():
    data = order(seeds=[0], steps=150).data
    blind, told, back = (runs[0] for runs in data.values())
    assert abs(blind - 0.5) < 0.06
    assert told > 0.7
    assert back > 0.7


def test_order_sentences_hold_out_pairs():
    for held_out in (True, False):
        example = sentences(500, torch.Generator().manual_seed(0), held_out)
        for row, label in zip(example.inputs.tolist(), example.targets.tolist(), strict=True):
            a, b = (word for word in row if word < NAMES)
            assert ((a + b) % 5 == 0) == held_out
            assert label == (a < b)


def test_a_model_fits_its_texts_habits():
    shares = texts(seeds=[0], steps=150).data
    assert shares["text A"][0] == pytest.approx([0.1, 0.9, 0.2, 0.5], abs=0.12)
    assert shares["text B"][0] == pytest.approx([0.9, 0.1, 0.2, 0.5], abs=0.12)


def test_it_is_named_in_sentences_never_seen():
    data = it(seeds=[0], steps=120).data
    assert data["accuracy"][0] > 0.8


def test_first_word_depends_on_the_model():
    data = first(seeds=range(3)).data
    assert sum(data["scalars"]["first"].values()) == 3
    assert all(len(row) == 4 for row in data["gpt"]["learned_at"])


def test_gradients_fade_in_an_rnn_and_not_in_attention():
    assert fade(KINDS["mlp, 8 back"]) == 0
    assert fade(KINDS["rnn"]) < 0.01
    assert fade(KINDS["gpt"]) > 0.01


def test_recall_and_repetition_can_be_known():
    example = recall(5, 7, torch.Generator().manual_seed(0))
    assert torch.equal(example.targets[:, -1], example.inputs[:, 0])
    example = repeated(50, torch.Generator().manual_seed(0))
    for row, targets in zip(example.inputs.tolist(), example.targets.tolist(), strict=True):
        for t, target in enumerate(targets):
            if target >= 0:  # the token that followed the same one before
                before = row[:t].index(row[t])
                assert row[before + 1] == target


def test_attention_weights_are_the_models_own():
    torch.manual_seed(0)
    model = build(shape(2), 24)
    weights = encoder_weights(model, torch.randint(24, (2, 9)))
    assert len(weights) == 2
    torch.testing.assert_close(weights[1].sum(-1), torch.ones(2, 4, 9))
    assert weights[0].triu(1).abs().max() == 0


def test_an_rnn_learns_far_letters_given_time():
    """Lesson 8 says that it can, but slowly: 1,200 steps on all distances."""
    torch.manual_seed(0)
    model = build(KINDS["rnn"], ASK + 1)

    def any_distance(generator):
        return recall(64, GAPS[int(torch.randint(len(GAPS), (1,), generator=generator))], generator)

    for _ in learn(model, any_distance, 1200):
        pass
    assert accuracy(model, recall(500, GAPS[-1], torch.Generator().manual_seed(1))) > 0.97
