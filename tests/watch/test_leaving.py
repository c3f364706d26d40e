"""SIGTERM, spikes, changed models, other optimizers: what a loop meets, and what is said of it."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import whence
from tests.watch.loops import NanoGPT, tokens
from whence.errors import WhenceError
from whence.watch import Rows, open_step

ROOT = Path(__file__).parents[2]


def quiet(_):
    pass


def line():
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def step(model, optimizer, x=None):
    optimizer.zero_grad()
    loss = model(torch.randn(5, 3) if x is None else x).pow(2).mean()
    loss.backward()
    optimizer.step()
    return loss


SCRIPT = """
import os, signal, sys, torch, whence
if sys.argv[1] == "theirs":
    def handler(number, frame):
        print("their handler", number, flush=True)
        sys.exit(7)
    signal.signal(signal.SIGTERM, handler)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
whence.watch(model, optimizer, out="mine")
for step in range(5):
    loss = model(torch.ones(1, 2)).sum()
    if step == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    loss.backward()
    optimizer.step()
print("not stopped")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process at once")
@pytest.mark.parametrize(("whose", "code"), [("default", -signal.SIGTERM), ("theirs", 7)])
def test_sigterm_is_reported_and_handed_on(tmp_path, whose, code):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, whose], cwd=tmp_path, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "not stopped" not in done.stdout
    assert ("their handler 15" in done.stdout) == (whose == "theirs")
    report = (tmp_path / "mine/crashes/000003/report.md").read_text()
    assert report.startswith("# Step 3: SIGTERM arrived")
    model = nn.Linear(2, 1)
    past, reason = open_step(tmp_path / "mine", None, model)
    assert (past.step.number, reason) == (3, "SIGTERM arrived")
    assert past.redo().differences == []


def test_handlers_are_put_back(tmp_path):
    def theirs(*_):
        pass

    before = signal.signal(signal.SIGTERM, theirs)
    hook = sys.excepthook
    try:
        model, optimizer = line()
        a = whence.watch(model, optimizer, out=tmp_path / "a", tell=quiet)
        b = whence.watch(*line(), out=tmp_path / "b", tell=quiet)
        assert signal.getsignal(signal.SIGTERM) is not theirs
        a.close()  # not the one on top: its place in the chain stays, and is silent
        step(model, optimizer)
        os.kill(os.getpid(), signal.SIGTERM)
        assert a.crashes == b.crashes == []  # neither has a step
        b.close()
        assert signal.getsignal(signal.SIGTERM) != b._departures._at_signal
        signal.signal(signal.SIGTERM, theirs)
        sys.excepthook = hook
        with whence.watch(model, optimizer, out=tmp_path / "c", tell=quiet):
            pass
        assert signal.getsignal(signal.SIGTERM) is theirs
        assert sys.excepthook is hook
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.excepthook = hook


def test_a_loop_in_a_thread_is_watched_without_signals(tmp_path):
    before, found = signal.getsignal(signal.SIGTERM), []

    def loop():
        model, optimizer = line()
        with whence.watch(model, optimizer, out=tmp_path / "mine", tell=quiet) as recorder:
            step(model, optimizer)
            found.append(recorder.at(0).redo().differences)

    thread = threading.Thread(target=loop)
    thread.start()
    thread.join()
    assert found == [[]]
    assert signal.getsignal(signal.SIGTERM) is before


def spiked(out, **options):
    """A batch of one row a hundred times as large as any, at step 40."""
    model, optimizer = line()
    told = []
    with whence.watch(model, optimizer, out=out, tell=told.append, **options) as recorder:
        for i in range(45):
            x = torch.randn(5, 3)
            if i == 40:
                x[2] *= 100
            optimizer.zero_grad()
            (model(x) - torch.randn(5, 1)).pow(2).mean().backward()
            optimizer.step()
    return model, recorder, told


def test_a_spike_names_the_layer_and_the_example(tmp_path):
    _, recorder, told = spiked(tmp_path / "mine")
    (folder,) = recorder.crashes
    assert folder.name == "000040"
    report = (folder / "report.md").read_text()
    assert "the gradient's norm has a spike" in report
    assert re.search(r"`weight` carried (9\d|100) % of it", report)
    groups = report.split("by example")[1]
    assert "example 2" in groups.splitlines()[1]
    assert any("weight carried" in said for said in told)


def test_spikes_may_be_skipped_or_unasked(tmp_path):
    before = []
    model, recorder, _ = spiked(tmp_path / "mine", on_bad="skip")
    before += [p.abs().max().item() for p in model.parameters()]
    assert max(before) < 2
    assert recorder.at(40).redo().differences == []
    _, recorder, _ = spiked(tmp_path / "more", spike=None)
    assert recorder.crashes == []
    with pytest.raises(WhenceError, match="has a spike"):
        spiked(tmp_path / "stop", on_bad="stop")


def test_an_optimizer_that_is_not_torchs_is_ended_by_hand(tmp_path):
    class Plain:
        """A rule that torch knows nothing of."""

        def __init__(self, parameters):
            self.parameters = list(parameters)

        def step(self):
            with torch.no_grad():
                for p in self.parameters:
                    p -= 0.1 * p.grad.sign()

        def zero_grad(self):
            for p in self.parameters:
                p.grad = None

    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer, told = Plain(model.parameters()), []
    with whence.watch(model, optimizer, out=tmp_path / "mine", tell=told.append) as recorder:
        assert any("call recorder.step() after" in said for said in told)
        with pytest.raises(WhenceError, match="nothing to end"):
            recorder.step()
        for i in range(4):
            loss = step(model, optimizer)
            if i % 2:
                optimizer.zero_grad()  # before or behind: what was left is known
            recorder.step()
        for number in range(4):
            redone = recorder.at(number).redo()
            assert redone.differences == []
            assert any("isn't torch's" in note for note in redone.notes)
        trace = recorder.at(3).trace()
        assert trace.number("weight[0,1].grad").why().residual <= 1e-6
        assert loss.isfinite()
    seen = whence.watch(*line(), out=tmp_path / "other", tell=quiet)
    with seen, pytest.raises(WhenceError, match="these are all seen"):
        seen.step()


def test_it_is_never_silent_about_a_loop_that_ends_no_step(tmp_path):
    model, told = nn.Linear(3, 1), []
    with whence.watch(model, None, out=tmp_path / "mine", tell=told.append):
        for _ in range(101):
            model(torch.randn(5, 3)).pow(2).mean().backward()
    assert sum("no step has ended in 100 backward passes" in said for said in told) == 1


def test_a_wrapped_optimizer_of_torch_is_found(tmp_path):
    class Wrapped:
        def __init__(self, optimizer):
            self.optimizer = optimizer

    model, optimizer = line()
    with whence.watch(model, Wrapped(optimizer), out=tmp_path / "mine", tell=quiet) as recorder:
        step(model, optimizer)
        assert recorder.at(0).redo().differences == []


@pytest.mark.parametrize("how", ["replaced", "resized"])
def test_a_model_that_changes_shape_is_said_so(tmp_path, how):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    told = []
    with whence.watch(
        model, optimizer, out=tmp_path / "mine", snapshot_every=2, tell=told.append
    ) as recorder:
        for _ in range(4):
            step(model, optimizer)
        if how == "replaced":
            model[1] = nn.Linear(4, 2)
            optimizer.add_param_group({"params": list(model[1].parameters())})
        else:
            model[1].weight.data = torch.randn(2, 4)
            model[1].bias.data = torch.randn(2)
            optimizer.zero_grad()
        with pytest.raises(WhenceError, match=r"has changed since the step was recorded \(1\."):
            recorder.at(3).redo()
        for _ in range(4):
            step(model, optimizer)
        assert any("the model has changed before step 4 (1." in said for said in told)
        assert recorder.steps[0] >= 4
        redone = recorder.at(-1).redo()
        assert redone.differences == []
        for a, b in zip(redone.copies.models[""].parameters(), model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_state_outside_of_the_module_is_named(tmp_path):
    class Outside(nn.Module):
        calls = [0]  # noqa: RUF012  # the fault itself

        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 1)

        def forward(self, x):
            self.calls[0] += 1
            return self.inner(x) * self.calls[0]

    model = Outside()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with whence.watch(model, optimizer, out=tmp_path / "mine", tell=quiet) as recorder:
        for _ in range(3):
            step(model, optimizer)
        redone = recorder.at(1).redo()
        (difference,) = redone.differences
        assert (difference.call, difference.output) == (0, 0)
        notes = recorder.at(1).trace().notes
    (note,) = (n for n in notes if n.startswith("approximate"))
    assert "call 0, output 0" in note
    assert " off" in note
    assert "a state outside the module" in note


def train_with(loss, tmp_path, call=None, slices=False):
    torch.manual_seed(0)
    model = NanoGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    recorder = None
    if tmp_path is not None:
        recorder = whence.watch(model, optimizer, out=tmp_path / "mine", loss=loss, tell=quiet)
        call = call and (lambda *given: recorder.loss(*given))
    for _ in range(4):
        for _ in range(2):
            x, y = tokens()
            logits, _ = model(x)
            if slices:
                logits, y = logits[:, 1:].transpose(1, 2), y[:, 1:]
            else:
                logits, y = logits.view(-1, 13), y.view(-1)
            ((call or loss)(logits, y) / 2).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    return model, recorder


@pytest.mark.parametrize("slices", [False, True])
@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(label_smoothing=0.1), F.cross_entropy])
def test_with_the_loss_receipts_go_to_the_targets(tmp_path, loss, slices):
    plain, _ = train_with(loss, None, slices=slices)
    call = None if isinstance(loss, nn.Module) else loss
    model, recorder = train_with(loss, tmp_path, call, slices)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(),
                                                 strict=True))  # fmt: skip
    redone = recorder.at(-1).redo()
    assert redone.differences == []
    for a, b in zip(redone.copies.models[""].parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    trace = recorder.at(2).trace()
    given = [
        name
        for name in trace.names()
        if name.endswith(".grad") and trace[name].shape == (4, 8, 13)
        and trace.number(f"{name}[0,1,2]").why().verdict == "given"
    ]  # fmt: skip
    assert given == [], "no gradient arrives from outside at the model's output"
    recorder.close()
    dumped = recorder.dump()
    assert "arrived from outside" not in (dumped / "report.md").read_text()
    past, _ = open_step(recorder.path, None, {"model": NanoGPT(), "loss": loss})
    assert past.redo().differences == []
    past, _ = open_step(recorder.path, None, NanoGPT())
    assert past.redo().differences == []
    assert any("the loss function isn't given here" in note for note in past.redo().notes)


def test_an_output_used_beside_the_loss_is_taken_as_it_arrived(tmp_path):
    torch.manual_seed(0)
    model, criterion = nn.Linear(4, 3), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with whence.watch(
        model, optimizer, out=tmp_path / "mine", loss=criterion, tell=quiet
    ) as recorder:
        for _ in range(3):
            y = model(torch.randn(5, 4))
            loss = criterion(y, torch.randint(3, (5,))) + 1e-3 * y.logsumexp(-1).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        redone = recorder.at(-1).redo()
        assert redone.differences == []
        for a, b in zip(redone.copies.models[""].parameters(), model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_rows_are_told_by_the_users_function(tmp_path):
    data = [torch.tensor([5, 1, 2, 0]), torch.tensor([7, 7, 3, 4]), torch.tensor([1, 2, 3, 9])]
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    source = Rows(data)
    with whence.watch(
        model, optimizer, out=tmp_path / "mine", source=source, decode="abcdefghij".__getitem__,
        tell=quiet,
    ) as recorder:  # fmt: skip
        batch = torch.stack([data[2], data[0]])
        F.cross_entropy(model(batch).flatten(0, 1), batch.flatten()).backward()
        optimizer.step()
        assert recorder.source(batch) == [2, 0]
        number = recorder.at(0).trace().number("0.weight[9,1].grad")
        (share,) = (s for s in number.attribution("where").shares if s.value)
        assert share.label.startswith("row 2")
    other = whence.watch(*line(), out=tmp_path / "other", tell=quiet)
    with other, pytest.raises(WhenceError, match="give it source="):
        other.source(batch)


def test_a_row_of_one_token_is_found_whatever_its_padding():
    rows = Rows([[7], [7, 7, 2, 7]])
    batch = torch.tensor([[7, 7, 7, 7, 7], [7, 7, 2, 7, 7], [0, 7, 7, 2, 7], [7, 7, 2, 2, 7]])
    assert rows(batch) == [0, 1, 1, None]


def test_a_tokenizer_beside_the_models_files_is_found(tmp_path):
    from transformers import GPT2LMHeadModel

    from tests.watch.tiny import gpt2, tokenizer

    gpt2().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with whence.watch(model, optimizer, out=tmp_path / "mine", tell=quiet) as recorder:
        ids = torch.tensor(tokenizer()(["the cat sat", "a red hat"])["input_ids"])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        attribution = (
            recorder.at(0).trace().number("transformer.wte.weight[3,2].grad").attribution("token")
        )
    assert "'the'" in {share.label for share in attribution.shares}
