"""An encoder–decoder from the command line, on a text of the user's own pairs."""

import json
import random

import numpy as np
import pytest
import torch

from tests.cli.command import whence
from whence.errors import WhenceError
from whence.runs.run import Run
from whence.runs.training.events import Stepped
from whence.train.losses import cross_entropy

SMALL = ["--model", "seq2seq", "--model.n-layers", 1, "--model.d-model", 32, "--model.dropout", 0]
REST = ["--hardware.precision", "fp32", "--hardware.threads", 1, "--model.context-length", 8]
REST += ["--record.evaluate-every", 60]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Letters to be written backwards."""
    folder = tmp_path_factory.mktemp("my pairs")
    chance = random.Random(0)
    words = sorted({"".join(chance.choices("abcde", k=3)) for _ in range(400)})
    chance.shuffle(words)
    file = folder / "pairs.tsv"
    file.write_text("".join(f"{w}\t{w[::-1]}\n" for w in words), "utf-8")
    path = folder / "run"
    assert whence("train", file, "--out", path, "--steps", 120, *SMALL, *REST) == 0
    return Run.open(path)


def test_held_out_pairs_are_measured_by_exact_match(run, capsys):
    assert run.recipe.schedule.kind == "inverse-sqrt"
    assert whence("evaluate", run.path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exact_match"] > 0.8
    assert run.evals[0]["exact_match"] < 0.2
    assert "\t" in run.samples[0]["text"]


def test_it_answers_through_the_one_sampler_and_by_beam(run, capsys):
    from whence.generate import generate
    from whence.generate.pairs import beam_search, greedy_answers

    assert run.generate("abe\t", temperature=0) == "eba"
    assert run.generate("abe", temperature=0) == "eba"
    # the model itself ends with its target, whoever asks it
    assert generate(run.model(), run.tokenizer, "abe", temperature=0) == ["\teba"]
    model, encode = run.model(), run.tokenizer.encode
    greedy = greedy_answers(model, [encode(w) for w in ("abe", "cd", "eeadc")])
    assert run.tokenizer.decode(greedy[0]) == "eba"
    for width in (1, 4):
        found = beam_search(model, encode("abe\t"), 1, width=width, max_tokens=8)
        assert run.tokenizer.decode(found[0].tokens) == "eba"
        assert found == sorted(found, key=lambda h: -h.score)
    assert found[0].log_probability < 0


@pytest.mark.parametrize("flags", [(), ("--greedy",), ("--samples", 3), ("--stream",)])
def test_a_source_is_answered_by_one_line(run, flags, capsys):
    assert whence("generate", run.path, "abe", "--temperature", 0.01, *flags) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "─" not in line]
    assert lines == ["eba"] * (3 if "--samples" in flags else 1)
    assert whence("generate", run.path, "abe", "--max-tokens", 20, "--json", "--greedy") == 0
    [sample] = json.loads(capsys.readouterr().out)["samples"]
    assert (sample["text"], sample["finished"]) == ("eba", "stop")
    assert whence("generate", run.path) == 2
    assert "give one as the prompt" in capsys.readouterr().err


def test_gradients_of_pairs_agree_with_differences(run, capsys):
    assert whence("gradcheck", run.path, "--count", 20) == 0
    said = capsys.readouterr().out
    assert "differ " not in said.replace("difference", "")
    assert "agree" in said  # a key's bias has no gradient: rounding hides what there is of it


def test_a_run_of_pairs_resumes(run, capsys):
    assert whence("resume", run.path, "--steps", 122) == 0
    assert [r["step"] for r in run.steps] == list(range(122))


def test_a_run_stopped_half_way_ends_in_the_same_bits(tmp_path):
    file = tmp_path / "pairs.tsv"
    words = [a + b + c for a in "abcde" for b in "abcde" for c in "abcde"]
    file.write_text("".join(f"{w}\t{w[::-1]}\n" for w in words), "utf-8")
    whole, half = tmp_path / "whole", tmp_path / "half"
    assert whence("train", file, "--out", whole, "--steps", 12, *SMALL, *REST) == 0
    begun = Run.create(Run.open(whole).recipe, half)
    taken = 0

    def enough() -> bool:
        return taken == 6

    for event in begun.train(should_stop=enough):
        taken += isinstance(event, Stepped)
    assert Run.open(half).state == "stopped"
    assert whence("resume", half) == 0
    assert [r["loss"] for r in Run.open(half).steps] == [r["loss"] for r in Run.open(whole).steps]
    ends = [Run.open(path).model("last").state_dict() for path in (whole, half)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_text_that_is_no_pairs_is_told(tmp_path, capsys):
    file = tmp_path / "x.tsv"
    file.write_text("a\tb\n" * 50 + "no tab here\n" + "a\tb\n" * 50, "utf-8")
    assert whence("train", file, "--out", tmp_path / "run", *SMALL) == 2
    assert f"line 51 of {file} is 'no tab here'" in capsys.readouterr().err


# What a row without a target is, for each task that has targets of its own.
WITHOUT = {"seq2seq": ("ab\tba", "ab\t"), "encoder": ("spam\tbuy now", "spam\t")}


@pytest.mark.parametrize("kind", WITHOUT)
@pytest.mark.parametrize("place", [3, 40, 41, 80])  # also where the text is held out
def test_a_row_without_a_target_is_refused_by_file_and_line(kind, place, tmp_path, capsys):
    good, bad = WITHOUT[kind]
    other = good.replace("spam", "ham")
    lines = [good, other] * 40
    lines[place - 1] = bad
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "1.tsv").write_text("\n".join(lines[:40]))
    (folder / "2.tsv").write_text("\n".join(lines[40:]))
    words = ["--model", kind, "--steps", 1, "--out", tmp_path / "run"]
    assert whence("train", folder, *words) == 2
    file, line = ("1.tsv", place) if place <= 40 else ("2.tsv", place - 40)
    assert f"line {line} of {folder / file} is {bad!r}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_window_without_a_target_adds_nothing_and_a_batch_without_one_is_named():
    from whence.data import WindowBatches

    tokens = np.arange(33) % 7
    options = {"context_length": 8, "batch_size": 2, "seed": 0}
    step = [int(start) for start in WindowBatches(tokens, **options).starts(0)]
    skipped = [(step[0] + 1, step[0] + 9)]
    [(weight, part)] = WindowBatches(tokens, **options, skip=skipped)[0]
    table = torch.nn.Embedding(7, 7)
    loss = cross_entropy(table(part.inputs), part.targets)
    kept = torch.nn.functional.cross_entropy(table(part.inputs[1]), part.targets[1])
    assert (part.targets[0] == -100).all()
    assert weight == 1.0
    assert loss.item() == pytest.approx(kept.item())
    everything = WindowBatches(tokens, **options, skip=[(0, 33)])
    with pytest.raises(WhenceError, match="Step 0 has no token to learn from"):
        everything[0]


def test_a_beam_from_the_command_line(run, capsys):
    assert whence("generate", run.path, "abe", "--beam", 4) == 0
    assert capsys.readouterr().out == "eba\n"
    assert whence("generate", run.path, "abe\t", "--beam", 3, "--json") == 0
    found = json.loads(capsys.readouterr().out)["hypotheses"]
    assert len(found) == 3
    assert found[0]["text"] == "eba"
    # the oracle: ln P of the answer and its end, from the model's own logits
    ids = torch.tensor([run.tokenizer.encode("abe\teba\n").tolist()])
    logp = run.model()(ids)[0].log_softmax(-1)
    expected = sum(logp[i - 1, ids[0, i]].item() for i in range(4, 8))
    assert found[0]["log_probability"] == pytest.approx(expected, abs=1e-4)
    assert whence("generate", run.path, "abe", "--beam", 2, "--show-probabilities") == 0
    assert "ln P" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("abe", "--beam", 0), "the beam is 0 wide"),
        (("abe", "--beam", 2, "--top-k", 3), "leave out --top-k"),
        (("xyz", "--beam", 2), "'x'"),
    ],
)
def test_a_bad_beam_is_refused(run, words, said, capsys):
    assert whence("generate", run.path, *words) == 2
    assert said in capsys.readouterr().err
