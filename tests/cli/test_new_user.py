"""What someone new meets: odd texts, commands that are suggested, and runs that went wrong."""

import contextlib
import json
import re
import shlex
import shutil

import pytest
import torch

from tests.cli.command import whence
from whence import GPTConfig, Recipe, Run, WhenceError
from whence.generate.sampling import Sampling
from whence.models import Classifier, ClassifierConfig
from whence.models.layers.attention import attend
from whence.models.layers.attention_fused import attend_fused
from whence.runs.store.chain import link, note
from whence.runs.store.checkpoints import folder_name, save_checkpoint, saved_steps
from whence.scalar import Value
from whence.scalar.gradcheck import check_gradient

TINY = """
    --model.n-layers 1 --model.n-heads 1 --model.d-model 8 --model.context-length 16 --batch-size 2
    --hardware.device cpu --hardware.threads 1 --hardware.precision fp32
""".split()  # noqa: SIM905  # as it stands on a command line
TEXTS = {
    "chinese": "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。\n" * 40,
    "arabic": "السلام عليكم ورحمة الله وبركاته\n" * 40,
    "quotes": '"it\'s" `odd` $HOME *and* [b]bold[/b]\n' * 40,
    "pairs": "".join(f"{i} bottles\t{i:03d}\n" for i in range(10, 99)),
    "labels": "".join(f"{('few', 'many')[i > 50]}\t{i} bottles of beer\n" for i in range(10, 99)),
}
MODELS = {"pairs": ["--model", "seq2seq"], "labels": ["--model", "encoder"]}


@pytest.mark.parametrize("name", TEXTS)
def test_every_suggested_command_runs(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(TEXTS[name])
    assert whence("train", "my.txt", *MODELS.get(name, []), "--steps", 3, *TINY) == 0
    suggested = re.findall(r"(?m)^  whence (.+)$", capsys.readouterr().out.partition("\nnext\n")[2])
    assert len(suggested) == 3
    (tmp_path / "your.txt").write_text(TEXTS[name] * 2)
    for command in suggested:
        words = shlex.split(command)
        extra = ["--max-tokens", 3] if words[0] == "generate" else []
        assert whence(*words, *extra) == 0, command


def run_on(tmp_path, text: str, steps: int = 2, **options) -> Run:
    (tmp_path / "text.txt").write_text(text)
    size = GPTConfig(n_layers=1, n_heads=1, d_model=8, context_length=16)
    recipe = Recipe.from_dict({"data": {"source": [str(tmp_path / "text.txt")]}, **options})
    recipe = Recipe(**{**vars(recipe), "model": size, "steps": steps, "batch_size": 2})
    run = Run.create(recipe, tmp_path / "run")
    for _ in run.train():
        pass
    return run


def test_characters_never_seen_are_left_out_of_a_measurement_and_told(tmp_path, capsys):
    run = run_on(tmp_path, "plain words and nothing else " * 40)
    plain = run.evaluate("plain words and nothing")
    odd = run.evaluate("plain “words” and nöthing".replace("ö", "öo"))
    assert odd.left_out == {"“": 1, "”": 1, "ö": 1}
    assert (odd.loss, odd.n_bytes) == (plain.loss, plain.n_bytes)
    (tmp_path / "odd.txt").write_text("plain “words” and nothing")
    assert whence("evaluate", run.path, tmp_path / "odd.txt") == 0
    assert "left out       2 characters" in capsys.readouterr().out
    (tmp_path / "no.txt").write_text("天地玄黃")
    assert whence("evaluate", run.path, tmp_path / "no.txt") == 2
    assert "same writing system" in capsys.readouterr().err


def test_a_model_that_diverged_neither_writes_nor_is_measured_as_if_it_were_sound(tmp_path, capsys):
    run = run_on(tmp_path, "plain words and nothing else " * 40)
    for step in saved_steps(run.checkpoint_folder):
        weights = {name: w * torch.nan for name, w in run.model(step).state_dict().items()}
        shutil.rmtree(run.checkpoint_folder / folder_name(step))
        save_checkpoint(run.checkpoint_folder, step, weights, {}, link(run.header, {}))
    note(run.path, run.header, saved_steps(run.checkpoint_folder))
    for words in (["generate", run.path, "plain"], ["evaluate", run.path]):
        assert whence(*words) == 2
        told = capsys.readouterr()
        assert "diverged" in told.err
    assert whence("evaluate", run.path, "--json") == 2
    json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_a_step_too_small_to_change_a_number_checks_nothing(capsys):
    assert whence("gradcheck", "net", "--step", "1e-17") == 2
    assert "too small to change" in capsys.readouterr().err
    small = Value(1.0)
    check = check_gradient(lambda: 1e6 + small * 1e-6, small, step=1e-9)
    assert check.undecided
    assert not check.agrees


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", [attend, attend_fused])
@pytest.mark.parametrize("causal", [False, True])
def test_a_query_that_may_read_nothing_reads_nothing(dtype, form, causal):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 2, 5, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    visible = torch.ones(2, 5, dtype=torch.bool)
    visible[1] = False
    y = form(q, k, v, causal, visible)
    gradients = torch.autograd.grad(y.sum(), (q, k, v))
    assert not y[1].any()
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert not gradient[1].any()


def test_a_text_that_is_nothing_but_padding_has_logits_and_gradients():
    torch.manual_seed(0)
    model = Classifier(ClassifierConfig(n_layers=1, n_heads=2, d_model=16, classes=("a", "b")), 9)
    torch.nn.init.normal_(model.head.weight)
    visible = torch.tensor([[True, True, False], [False, False, False]])
    logits = model(torch.tensor([[1, 2, 0], [0, 0, 0]]), visible)
    torch.testing.assert_close(logits[1], model.head.bias)
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda net, x: None, "computed nothing with tensors"),
        (lambda net, x: 3, "computed nothing with tensors"),
        (lambda net, x: net(x), "no backward() ran in this step"),
        (lambda net, x: net(x).sum().backward(), None),
    ],
)
def test_a_step_that_is_no_training_step_says_so_and_what_there_is(step, said):
    from whence.why import trace

    net, x = torch.nn.Linear(2, 1), torch.ones(3, 2)
    found = trace(lambda: step(net, x), model=net)
    assert [said in note for note in found.notes] == ([] if said is None else [True])
    if said is None:
        assert found["loss"][()].value == net(x).sum().item()
        return
    for address in ("loss", "weight.grad[0,0]"):
        with pytest.raises(WhenceError, match=re.escape(said)):
            found.why(address)


def test_what_a_step_without_a_loss_has_is_listed_or_counted():
    from whence.why import trace

    net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(9)))
    found = trace(lambda: net(torch.ones(1, 2)), model=net)
    with pytest.raises(WhenceError) as refused:
        found.why("loss")
    listed, more = re.findall(r"its weights, and (.*) and (\d+) more", str(refused.value))[0]
    others = set(found.names()) - {name for name, _ in net.named_parameters()}
    assert set(listed.split(", ")) < others
    assert len(listed.split(", ")) + int(more) == len(others)


def test_what_is_no_function_is_no_step():
    from whence.why import trace

    with pytest.raises(WhenceError, match="was given int: write it as def step"):
        trace(5)  # type: ignore[arg-type]


def test_stop_takes_one_string_and_leaves_the_prompt(tmp_path, capsys):
    run = run_on(tmp_path, "plain words and nothing else " * 40)
    capsys.readouterr()
    assert whence("generate", run.path, "--stop", "e", "plain", "--max-tokens", 2) == 0
    assert capsys.readouterr().out.startswith("plain")


@pytest.mark.parametrize("words", [["--help"], ["help"], ["help", "generate"]])
def test_help_is_asked_for_in_any_way(words, capsys):
    assert whence(*words) == 0
    assert "usage: whence" in capsys.readouterr().out


def test_flags_by_the_names_that_others_use(capsys, tmp_path):
    from whence.cli.training.recipes import parse_training

    recipe = parse_training(["--lr", "0.02", "--layers=2", "--model", "gpt2"]).recipe
    assert recipe.optimizer.learning_rate == 0.02
    assert recipe.model.n_layers == 2
    assert whence("train", "--epochs", 3) == 2
    assert "--steps" in capsys.readouterr().err


def test_a_tiny_temperature_is_the_limit_of_a_small_one():
    from whence.generate.sampling import filter_logits

    logits = torch.tensor([[1.0, 3.0, 2.0]])
    for temperature in (1e-38, 1e-45, 1e-300):
        kept = filter_logits(logits, Sampling(temperature=temperature)).softmax(-1)
        assert kept.tolist() == [[0.0, 1.0, 0.0]]


def test_a_ctrl_c_that_something_swallowed_is_remembered(monkeypatch):
    import signal

    from whence.cli import interrupts

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a shell may ignore it
    with interrupts.remembered():
        assert not interrupts.seen()
        with contextlib.suppress(KeyboardInterrupt):  # as careless code does
            signal.raise_signal(signal.SIGINT)
        assert interrupts.seen()
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_a_run_that_was_interrupted_while_it_was_loaded_stops_before_its_first_step(
    tmp_path, capsys, monkeypatch
):
    from whence.cli import interrupts

    monkeypatch.setattr(interrupts, "seen", lambda: True)
    (tmp_path / "my.txt").write_text(TEXTS["quotes"])
    words = ["train", tmp_path / "my.txt", "--steps", 3, "--out", tmp_path / "run", *TINY]
    assert whence(*words) == 0
    assert "stopped and saved before step 0" in capsys.readouterr().out


def test_a_ctrl_c_while_a_long_text_is_counted_ends_at_once_and_says_how_to_go_on(
    tmp_path, capsys, monkeypatch
):
    import signal

    counted = []

    def counting(dataset):
        signal.raise_signal(signal.SIGINT)
        counted.append(dataset)  # which may take a minute
        return []

    monkeypatch.setattr("whence.cli.training.display.baselines", counting)
    monkeypatch.setattr("whence.cli.training.display.WAITS", 0)
    (tmp_path / "my.txt").write_text(TEXTS["quotes"])
    words = ["train", tmp_path / "my.txt", "--steps", 3, "--out", tmp_path / "run", *TINY]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else a shell may ignore it
    try:
        assert whence(*words) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    printed = capsys.readouterr().out
    assert "counting what a model must beat" in printed
    assert f"whence resume {tmp_path / 'run'}" in printed
    assert not counted
    assert Run.open(tmp_path / "run").state == "new"


def test_a_sample_never_ends_in_half_a_character():
    from whence.generate.text import TextStream

    stream = TextStream(lambda ids: bytes(ids).decode("utf-8", "replace"))
    shown = "".join(stream.push(byte) for byte in "né字".encode()[:-1]) + stream.finish()
    assert shown == "né"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["line", "--target", "nope"], "--target names a column of a CSV"),
        (["net", "--hidden", "1000000"], "2,000,000 weights"),
        (["net", "--hidden", "4", "a"], "--hidden is 'a': give a whole number, or several."),
        (["nett"], "Unknown command 'nett': did you mean net?"),
        (["train", "--help", "modle"], "did you mean model?"),
        (["train", "--model", "gpt-2"], "did you mean gpt2?"),
        (["train", "--model", "net"], "a separate command, 'whence net'"),
        (["plan", "--model=rates"], "a separate command, 'whence rates'"),
        (["gpt"], "it is a model, 'whence train --model gpt'."),
        (["train", "--processes", "0"], "--processes is 0: give 1 to 1024."),
        (["train", "--restarts", "-1"], "--restarts is -1: give 0 or more."),
    ],
)
def test_mistakes_are_answered_with_what_to_do(words, message, capsys):
    assert whence(*words) == 2
    assert message in capsys.readouterr().err


def test_the_step_of_a_compiled_module_has_the_names_of_the_module_and_says_so():
    from whence.why import trace

    layer = torch.nn.Linear(2, 1)
    compiled = torch.compile(layer, backend="eager")

    def step():
        compiled(torch.ones(1, 2)).sum().backward()

    traced = trace(step, model=compiled)
    assert list(traced.parameters) == ["weight", "bias"]
    assert any("compiled" in note for note in traced.notes)


def test_what_is_measured_on_a_part_says_so_and_is_not_held_against_the_whole(tmp_path, capsys):
    (tmp_path / "my.txt").write_text("aaaaaaaa" * 40 + TEXTS["quotes"] * 2)
    words = ["train", tmp_path / "my.txt", "--model", "bigram", "--steps", 30, *TINY[6:]]
    words += ["--data.validation", 0.5, "--record.sample-tokens", 0]
    words += ["--optimizer.learning-rate", 0.1]
    assert whence(*words, "--record.evaluate-tokens", 20, "--out", tmp_path / "part") == 0
    out = capsys.readouterr().out.splitlines()
    *parts, whole = [line for line in out if line.startswith("step") and "validation" in line]
    assert all("tokens of it)" in line and "below" not in line for line in parts)
    assert "all of validation" in whole
    assert "of it" not in whole
    assert whence(*words, "--record.evaluate-tokens", 9999, "--out", tmp_path / "whole") == 0
    assert "now below uniform" in capsys.readouterr().out
