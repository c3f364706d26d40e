"""`whence why`, as a person calls it."""

import io
import json

import pytest

from tests.cli.command import TEXT, whence
from whence import Run


@pytest.fixture
def read(capsys):
    """Run a command that must succeed; give what it printed."""

    def call(*words: object) -> str:
        assert whence(*words) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return call


def test_a_receipt(trained, read):
    printed = read("why", trained, "blocks.0.mlp.up.weight[3,7].update", "--step", 31)
    recorded = Run.open(trained).steps[31]["loss"]
    assert f"step 31: loss {recorded!r}, as recorded, to the bit" in printed
    assert "blocks.0.mlp.up.weight[3,7].update = " in printed
    assert "other terms" in printed
    assert "residual" in printed
    assert "open next:" not in printed  # the terms' addresses say it


def test_a_token_in_an_address_and_levels(trained, read):
    printed = read("why", trained, r"logits[0,12,'\n']@31", "--depth", 2, "--top", 3)
    assert printed.count("residual") > 1
    same = read("why", trained, 'logits[0,12,"\n"]', "--step", 31, "--depth", 2, "--top", 3)
    assert printed == same


def test_groups_add_up_and_say_where_in_the_text_they_stand(trained, read):
    result = json.loads(read("why", trained, "loss", "--step", 31, "--by", "where", "--json"))
    attribution = result["attribution"]
    added = sum(share["value"] for share in attribution["shares"]) + attribution["rounding"]
    assert added == pytest.approx(attribution["value"], rel=1e-9)
    assert result["schema"] == attribution["schema"] == 1
    for share in attribution["shares"]:
        place, _, around = share["label"].partition(": ")
        number = int(place.split()[1].replace(",", ""))
        line = TEXT.split("\n")[number - 1]
        token = around[around.index("⟨") + 1 : around.index("⟩")]
        assert token in line + "↵"
        left = around[: around.index("⟨")].lstrip("…").rpartition("↵")[2]
        assert left in line


def test_lines_are_counted_in_the_text(trained):
    moment = Run.open(trained).at(31)
    (_, part), *_ = moment.batch
    t = moment.trace()
    for row, start in enumerate(part.starts):
        for position in (0, 5, 15):
            line = 1 + TEXT[: start + position].count("\n")
            assert t.labels.where(row, position) == f"line {line} of cats and dogs.txt"


def test_the_memory_is_told_before(trained, read):
    told = json.loads(read("why", trained, "loss", "--step", 3, "--json"))["bytes"]
    assert told["told"] == pytest.approx(told["kept"], rel=0.03)


def test_a_text_of_ones_own(trained, read):
    printed = read("why", trained, "loss", "--text", "the cat sat")
    assert "reading a text" in printed
    assert "'t' read, 'h' expected, at position 0" in printed
    result = json.loads(read("why", trained, "loss", "--text", "the cat sat", "--json"))
    assert len(result["receipt"]["terms"]) + result["receipt"]["others"]["count"] == 10
    losses = Run.open(trained).evaluate("the cat sat", at="last").loss
    assert result["loss"] != losses  # before the last step
    result = json.loads(read("why", trained, "--step", 40, "--text", "the cat sat", "--json"))
    assert result["loss"] == pytest.approx(losses, rel=1e-5)


def test_check_list_and_balance(trained, read):
    assert "finite difference" in read("why", trained, "embed.weight[3,4]", "--check")
    printed = read("why", trained, "attn", "--list", "--step", 3)
    assert "blocks.0.attn.q.weight" in printed
    assert "mlp.up.weight " not in printed
    printed = read("why", trained, "--balance", "--numbers", 500, "--step", 3)
    assert ", 0 wrong" in printed
    result = json.loads(read("why", trained, "--balance", "--numbers", 500, "--json"))
    assert result["balance"]["closed"] == {}


def test_a_step_whose_record_is_gone_is_refused(trained, tmp_path, capsys):
    import shutil

    own = shutil.copytree(trained, tmp_path / "own")
    last = Run.open(own).checkpoints[-1]
    (own / "steps.jsonl").unlink()
    assert whence("why", own, "embed.weight[3,4].grad", "--step", last) == 2
    assert "steps.jsonl is damaged: it is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "loss"], "there is no run at nowhere"),
        (["RUN", "los"], "did you mean loss"),
        (["RUN", "loss", "--step", "41"], "it has done the steps 0 to 39"),
        (["RUN", "loss@3", "--step", "4"], "says step 3 and --step says 4"),
        (["RUN", "blocks.0.mlp.up.wight[3,7]"], "did you mean blocks.0.mlp.up.weight"),
        (["RUN", "blocks.0.mlp.up.weight[3]"], "give 2 indices, not 1, such as "),
        (["RUN", "blocks.0.mlp.up.weight[3,99].grad"], "index 99 of dimension 1 is outside 0 to"),
        (["RUN", "logits[0,1,'zzz']"], "'zzz' isn't one of"),
        (["RUN", "["], "is not an address"),
        (["RUN", "loss", "--by", "token", "--check"], "ask one at a time"),
        (["RUN", "loss", "--top", "0"], "--top is 0: give 1 or more"),
        (["RUN", "loss", "--check"], "cannot be nudged"),
        (["RUN", "loss", "--text", "t"], "the text has 1 token: give 2 to 17"),
        (["RUN", "loss", "--text", "∮"], "isn't among the"),
        (["RUN", "zzz", "--list"], "has 'zzz' in its name"),
    ],
)
def test_bad_input_is_one_sentence(words, message, trained, capsys):
    assert whence("why", *[str(w).replace("RUN", str(trained)) for w in words]) == 2
    told = capsys.readouterr().err.strip()
    assert message in told
    assert "\n" not in told


def test_a_counted_model_has_no_steps_to_open(text_file, tmp_path, capsys):
    run = tmp_path / "counted"
    assert whence("train", text_file, "--model", "ngram", "--out", run) == 0
    capsys.readouterr()
    for words in (
        ["why", run, "loss"],
        ["why", run, "loss", "--text", "the"],
        ["biography", run, "w[1]"],
        ["influence", run, "the", "--next", " c"],
    ):
        assert whence(*words) == 2
        assert "is a counted model" in capsys.readouterr().err


def test_a_conversation_about_a_step_traces_it_once(trained, capsys, monkeypatch):
    from whence.cli.inside import why_answers

    traced = []
    original = why_answers.trace_moment
    monkeypatch.setattr(
        why_answers, "trace_moment", lambda *a, **k: traced.append(1) or original(*a, **k)
    )
    lines = ["1", "back", "/q.weight", "by token", "99", "nonsense", "line worst", "1", "exact",
             "head.weight", "help", "quit", "loss"]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert whence("why", trained, "head.weight[3,7].grad", "--step", 31, "--interactive") == 0
    said = capsys.readouterr().out
    assert traced == [1]
    t = Run.open(trained).at(31).trace()
    receipt = t.why("head.weight[3,7].grad")
    largest = max(receipt.terms, key=lambda term: abs(term.value)).factors[0]
    answers = said.split("why> ")
    assert f"1  {largest[0]}" in answers[0]
    assert f"{largest[0]} = {largest[1]:.4g}"[:12] in answers[1]
    assert "head.weight[3,7].grad = " in answers[2]
    assert "blocks.0.attn.q.weight  [16, 16]" in answers[3]
    assert "by token" in answers[4]
    assert "99 is not among" in answers[5]
    assert "This step has no tensor named 'nonsense'" in answers[6]
    assert "what they moved most" in answers[7]
    assert ".update = " in answers[8]
    assert "this step's change, " in answers[9]
    assert ", float64" in answers[9]
    weight = t["head.weight"].value
    assert f"= {float(weight.flatten()[weight.abs().argmax()])!r}" in answers[10]
    assert "open that line" in answers[11]
    assert len(answers) == 13  # nothing is read after quit


def test_paths_that_take_too_long_are_sampled_and_say_so(trained, read):
    words = ["why", trained, "blocks.0.mlp.up.weight[3,7].grad", "--step", 31, "--by", "path"]
    whole = json.loads(read(*words, "--seconds", 600, "--json"))["attribution"]
    assert not any("sampled" in note for note in whole["notes"])
    some = json.loads(read(*words, "--seconds", 0, "--json"))["attribution"]
    assert "sampled: the paths of 1 example of 8" in some["notes"][0]
    for found in (whole, some):
        added = sum(share["value"] for share in found["shares"]) + found["rounding"]
        assert added == pytest.approx(found["value"], rel=1e-9)
        assert abs(found["rounding"]) <= found["bound"]
    assert any("7 other examples, not followed" in s["label"] for s in some["shares"])
    t = Run.open(trained).at(31).trace()
    exact = {s.label: s.value for s in t.number(words[2]).attribution("path").shares}
    assert {s["label"]: s["value"] for s in whole["shares"]} == pytest.approx(exact, rel=1e-6)


def test_every_digit_and_raw_names_on_request(trained, read):
    words = ["why", trained, "blocks.0.mlp.up.weight[3,7].grad", "--step", 31]
    stored = Run.open(trained).at(31).trace().number(words[2]).value
    assert f"= {stored:.4g}" in read(*words)
    exact = read(*words, "--exact")
    assert f"= {stored!r}" in exact
    assert "mm, float32" in exact
    assert f"= {stored:.6g} " in read(*words, "--digits", 6)


def test_the_old_word_for_influence_is_understood(trained, capsys):
    words = (trained, "the", "--next", " c", "--json")
    assert whence("influence", *words) == whence("taught", *words) == 0
    new, old = capsys.readouterr().out.splitlines()
    assert json.loads(old)["influence"] == json.loads(new)["influence"]
