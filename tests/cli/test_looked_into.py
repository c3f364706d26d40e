"""Heads, parts, order, copying and rates of one's own run, against its own logits and torch."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.cli.command import whence
from whence.experiments import on_run
from whence.experiments.common import Interval
from whence.experiments.inside import silence
from whence.experiments.training import rate_test
from whence.models import GPT, GPTConfig, qwen3_config
from whence.models.layers.attention import Attention
from whence.models.reads import reading
from whence.models.seq2seq.config import EncoderConfig
from whence.models.seq2seq.encoder import Encoder
from whence.play.rates import Range
from whence.runs.questions.attention import attention
from whence.runs.run import Run


def told(capsys, *words):
    assert whence(*words) == 0
    return capsys.readouterr().out


def sure(mean, half=0.01):
    return Interval(mean, mean - half, mean + half)


# --- who reads whom ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["formula", "fast"])
@pytest.mark.parametrize("make", [GPTConfig, qwen3_config])
def test_weights_times_values_are_what_attention_gives(make, form):
    torch.manual_seed(0)
    model = GPT(make(n_layers=2, n_heads=4, d_model=16, n_kv_heads=2, attention=form), 11).eval()
    entered, gave = [], []
    part = model.blocks[1].attn
    part.register_forward_pre_hook(lambda _m, inputs: entered.append(inputs[0]))
    part.register_forward_hook(lambda _m, _i, out: gave.append(out))
    with torch.no_grad(), reading(model) as found:
        model(torch.randint(0, 11, (2, 9)))
    weights = found["blocks.1.attn"]
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9))
    assert weights.triu(1).abs().max() == 0
    values = part.v(entered[0]).unflatten(2, (2, -1)).transpose(1, 2).repeat_interleave(2, 1)
    mixed = (weights @ values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(part.o(mixed), gave[0], atol=1e-5, rtol=1e-4)


def test_padding_and_another_sequence_are_read_as_torch_reads_them():
    torch.manual_seed(0)
    part = Attention(8, 2, causal=False)
    oracle = torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(part.qkv()[0])
    x, source = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    visible = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    model = torch.nn.ModuleDict({"attn": part})
    with torch.no_grad(), reading(model) as found:
        part(x, source=source, visible=visible)
        _, expected = oracle(
            x, source, source, key_padding_mask=~visible, average_attn_weights=False
        )
    torch.testing.assert_close(found["attn"], expected)


def test_attention_of_ones_own_run(trained, tmp_path, capsys):
    picture = tmp_path / "reads.svg"
    text = told(capsys, "attention", trained, "the cat", "--token", "c", "--svg", picture)
    assert "what each head reads" in text
    assert "'c' reads hardest" in text
    assert picture.read_text().startswith("<svg")
    found = json.loads(told(capsys, "attention", trained, "the cat", "--json"))
    [layer] = found["layers"]
    assert layer["reads"] == list("the cat")
    assert np.sum(layer["weights"], axis=-1) == pytest.approx(1.0)
    assert whence("attention", trained, "the cat", "--layer", 7) == 2
    assert whence("attention", trained, "the cat", "--token", "zebra") == 2
    assert "no token 'zebra'" in capsys.readouterr().err
    assert whence("attention", trained, "the cat " * 9) == 2
    assert "shorten it" in capsys.readouterr().err


def test_maps_of_pairs_have_the_tokens_of_their_sides(tmp_path):
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{a}{b}\t{b}{a}{a}\n" for a in "abcd" for b in "abcd"))
    out = tmp_path / "run"
    flags = ("--model", "seq2seq", "--model.n-layers", 1, "--model.d-model", 16, "--steps", 2)
    assert whence("train", file, "--out", out, "--data.validation", 0.3, *flags) == 0
    maps = {m.name: m for m in attention(Run.open(out), "ab\tba")}
    assert maps["encoder.blocks.0.attn.part"].reads == ["a", "b"]
    assert maps["blocks.0.attn.part"].reads == ["\\t", "b", "a"]
    assert maps["blocks.0.cross.part"].read == ["a", "b"]
    for m in maps.values():
        assert m.weights.shape[1:] == (len(m.reads), len(m.read))
    assert whence("silence", out) == 0  # parts of encoder, decoder and across


def test_evenness_is_that_of_an_even_head():
    model = Encoder(EncoderConfig(n_layers=1, n_heads=2), 9)
    assert isinstance(model.blocks[0].attn.part, Attention)
    from whence.runs.questions.attention import Map

    even = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    sharp = np.eye(4)
    found = Map("attn", list("abcd"), list("abcd"), np.stack((even, sharp)))
    assert found.evenness(0) == pytest.approx(1.0)
    assert found.evenness(1) == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    assert found.on_average(1) == {"first": 0.0, "before": 0.0, "itself": 1.0}


# --- silencing -----------------------------------------------------------------------------------


def test_what_a_head_costs_is_the_loss_without_its_columns(trained, capsys):
    found = json.loads(told(capsys, "silence", trained, "--checkpoint", "last", "--json"))["data"]
    run = Run.open(trained)
    tokens = np.asarray(run.dataset.validation).astype(np.int64)
    rows = np.stack([tokens[i : i + 17] for i in range(0, len(tokens) - 17, 16)])
    rows = torch.from_numpy(rows)
    model = run.model("last")

    def loss():
        with torch.no_grad():
            return F.cross_entropy(model(rows[:, :-1]).mT, rows[:, 1:]).item()

    assert found["loss"] == pytest.approx(loss(), abs=1e-5)
    model.blocks[0].attn.o.weight.data[:, 8:] = 0  # the second of two heads of 8
    [cost] = [c["cost"] for c in found["costs"] if c["head"] == 1]
    assert cost == pytest.approx(loss() - found["loss"], abs=1e-5)
    model.blocks[0].attn.o.weight.data.zero_()
    [cost] = [
        c["cost"] for c in found["costs"] if (c["part"], c["head"]) == ("blocks.0.attn", None)
    ]
    assert cost == pytest.approx(loss() - found["loss"], abs=1e-5)


def test_what_is_missed_is_said_by_the_intervals():
    part, one, two = ("blocks.0.mlp", None), ("blocks.0.attn", 0), ("blocks.0.attn", 1)
    yes, no = sure(0.5), sure(0.0, 0.2)

    def said(costs, idle=(), together=None):
        return silence.conclusion(costs, idle, together)

    assert said({part: no, one: no}).startswith("Undecided")
    assert "blocks.0.mlp is missed most, by 0.500 nats." in said({part: yes, one: no}, [one])
    assert "may be missed as much" in said({part: yes, one: sure(0.499)})
    assert "Of 2 heads 2 can be silenced" in said({part: yes, one: no, two: no}, [one, two])
    stand_in = said({part: yes, one: no, two: no}, [one, two], sure(0.3))
    assert "stand in for one another" in stand_in
    assert "they are idle" in said({part: yes, one: no, two: no}, [one, two], no)


# --- experiments on a run ------------------------------------------------------------------------


def test_order_matters_where_it_tells_the_next_letter(tmp_path, capsys):
    draw, letters = np.random.default_rng(0), "ab"
    for _ in range(6000):
        said = "abcd"[sum(map(ord, letters[-2:])) % 4]
        letters += said if draw.random() < 0.95 else draw.choice(list("abcd"))
    file = tmp_path / "two back.txt"
    file.write_text(letters)
    out = tmp_path / "run"
    flags = ("--model", "mlp", "--model.context-length", 8, "--steps", 300)
    assert whence("train", file, "--out", out, *flags, "--hardware.threads", 1) == 0
    capsys.readouterr()
    found = json.loads(told(capsys, "experiment", "order", "--run", out, "--json"))
    assert found["answer"].startswith("Yes")
    assert found["data"]["order"] > 0.1
    assert whence("experiment", "senses", "--run", out) == 2
    assert "whence embed" in capsys.readouterr().err


def test_copying_is_measured_on_a_model_that_copies():
    class Copies(torch.nn.Module):
        """Says what followed the same token last time, if it stood there before."""

        def forward(self, tokens):
            logits = torch.zeros(*tokens.shape, 30)
            for b, row in enumerate(tokens.tolist()):
                for t, token in enumerate(row):
                    if token in row[:t]:
                        last = t - 1 - row[:t][::-1].index(token)
                        logits[b, t, row[last + 1]] = 8.0
            return logits

    run = SimpleNamespace(
        path="made",
        writer=Copies,
        task=SimpleNamespace(is_prose=True),
        tokenizer=SimpleNamespace(vocab_size=30),
        recipe=SimpleNamespace(model=SimpleNamespace(context_length=16)),
    )
    report = on_run.induction_of_run(run)  # pyright: ignore[reportArgumentType]
    assert report.answer.startswith("Yes")
    assert np.mean(report.data["first"]) > math.log(30) * 0.9
    assert "no attention that could look back" in report.answer


def test_induction_of_a_run_is_told(trained, capsys):
    assert "copy what followed" in told(capsys, "experiment", "induction", "--run", trained)


def test_each_form_of_what_a_run_does():
    head = ("blocks.1.attn", 0, 0.9)
    said = on_run.induction_conclusion
    assert said(sure(3.0), 0.5, 4.0, head).startswith("Yes")
    assert said(sure(0.1), 3.9, 4.0, head).startswith("A little")
    assert said(sure(-0.5), 4.5, 4.0, head).startswith("No")
    assert said(sure(0.0, 0.2), 4.0, 4.0, head).startswith("Undecided")
    assert "no attention" in said(sure(3.0), 0.5, 4.0, None)
    assert on_run.order_conclusion(sure(0.3), sure(0.5)).startswith("Yes")
    assert "makes no use" in on_run.order_conclusion(sure(0.3), sure(0.0, 0.1))
    assert on_run.order_conclusion(sure(-0.2), sure(0.5)).startswith("No: with its context")
    assert "not their order" in on_run.order_conclusion(sure(0.0, 0.1), sure(0.5))


# --- rates ---------------------------------------------------------------------------------------


def test_a_range_test_on_a_run_leaves_it_as_it_was(trained, capsys):
    run = Run.open(trained)
    before = run.model("last").state_dict(), len(run.steps)
    found = json.loads(told(capsys, "rates", trained, "--steps", 60, "--json"))["data"]
    assert found["raw"][0] == run.steps[0]["loss"]  # the same first weights and batch
    assert found["proposed"] < found["rates"][found["losses"].index(min(found["losses"]))]
    after = Run.open(trained).model("last").state_dict()
    assert all(torch.equal(before[0][n], x) for n, x in after.items())
    assert len(Run.open(trained).steps) == before[1]
    assert "Which learning rate suits" in told(capsys, "rates", trained, "--steps", 30)


def test_each_form_of_the_range_tests_answer():
    def found(losses, diverges, proposed=0.01):
        return Range([0.001, 0.01, 0.1, 1.0], losses, proposed, diverges)

    turned = found([4.0, 3.0, 2.0, 9.0], 1.0)
    assert "of that size" in rate_test.conclusion(turned, 0.02)
    assert "likely too large" in rate_test.conclusion(turned, 0.5)
    assert "may crawl" in rate_test.conclusion(turned, 0.0001)
    assert "leaves for good at 1" in rate_test.conclusion(turned, 0.02)
    assert rate_test.conclusion(found([4.0, 3.0, 2.0, 1.0], None), 0.02).startswith("Undecided")


# --- vectors -------------------------------------------------------------------------------------


def test_vectors_of_a_model_that_reads_back_are_what_its_head_reads(trained, capsys):
    run = Run.open(trained)
    texts = ("the cat sat", "the dog sat")
    found = json.loads(told(capsys, "embed", trained, *texts, "--word", "sat", "--json"))
    model = run.model()
    vectors = []
    for text in texts:
        ids = torch.tensor([run.tokenizer.encode(text).astype(np.int64).tolist()])
        logits = model(ids)[0]  # the head is linear: solve for what it read
        x = torch.linalg.lstsq(model.head.weight.double(), logits.double().T).solution.T
        vectors.append(x[-3:].mean(0))
    expected = F.cosine_similarity(vectors[0], vectors[1], dim=0).item()
    assert found["cosines"][0][1] == pytest.approx(expected, abs=1e-3)


def test_unknown_words_are_told(tmp_path, capsys):
    file = tmp_path / "lines.tsv"
    file.write_text(
        "".join(f"{k}\tthe {w} is here\n" for k, w in [("a", "cat"), ("b", "dog")] * 30)
    )
    out = tmp_path / "run"
    assert whence("train", file, "--out", out, "--model", "encoder", "--steps", 2) == 0
    capsys.readouterr()
    words = ("embed", out, "the cat is here", "the floccinaucinihilipilification is here")
    assert "text 2 has 1 unknown word" in told(capsys, *words)
    assert json.loads(told(capsys, *words, "--json"))["unknown_words"] == [0, 1]
