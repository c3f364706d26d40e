"""Poisons: the report names the operation, the tensor or the row that brought the first NaN."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.watch.loops import NanoGPT, tokens
from whence.errors import WhenceError
from whence.watch import open_crash, watch


def quiet(_):
    pass


class Net(nn.Module):
    def __init__(self, last=None):
        super().__init__()
        self.body, self.head, self.last = nn.Linear(4, 6), nn.Linear(6, 2), last

    def forward(self, x):
        y = self.head(torch.tanh(self.body(x)))
        return y if self.last is None else self.last(y)


def train(tmp_path, poison, model=None, loss=None, steps=5, **kwargs):
    """Train; `poison(step, model, x)` may spoil step 3. Return the report and the recorder."""
    torch.manual_seed(0)
    model = model or Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    out = tmp_path / "run"
    with watch(model, optimizer, out=out, tell=quiet, **kwargs) as recorder:
        for step in range(steps):
            x = torch.randn(5, 4)
            if step == 3:
                poison(model, x)
            optimizer.zero_grad()
            (loss or (lambda y, _: y.pow(2).mean()))(model(x), step).backward()
            optimizer.step()
    (folder, *_) = recorder.crashes
    return (folder / "report.md").read_text(), recorder, model


def nothing(model, x):
    pass


def test_a_row_of_the_batch(tmp_path):
    def poison(model, x):
        x[2, 1] = float("nan")

    report, recorder, _ = train(tmp_path, poison)
    assert recorder.crashes[0].name == "000003"
    assert len(recorder.crashes) == 1, "the steps behind a bad one aren't reported again"
    assert "`x[2,1]` was nan before any operation" in report
    assert "example 2" in report


@pytest.mark.parametrize("by_data", [False, True])
def test_a_weight_corrupted_by_hand(tmp_path, by_data):
    def poison(model, x):
        with torch.no_grad():
            (model.head.weight.data if by_data else model.head.weight)[1, 3] = float("inf")

    report, _, _ = train(tmp_path, poison)
    assert "`head.weight[1,3]` was inf before any operation" in report


def test_an_operation_of_the_model(tmp_path):
    def poison(model, x):
        with torch.no_grad():
            model.head.bias.copy_(torch.tensor([5.0, -50.0]))

    class Root(nn.Module):
        def forward(self, y):
            return torch.sqrt(y + 10)

    report, _, _ = train(tmp_path, poison, model=Net(Root()))
    assert "`last[0,1]` is nan: the operation below made it" in report
    assert "last[0,1] = nan   (sqrt, example 0, float32)" in report
    assert "4 more numbers of the same tensor" in report


def test_a_division_by_zero_in_the_loss(tmp_path):
    def loss(y, step):
        return y.pow(2).sum() / (0.0 if step == 3 else 1.0)

    report, _, _ = train(tmp_path, nothing, loss=loss)
    assert "`head[0,0].grad` arrived from outside and was inf" in report


def test_a_half_that_overflows(tmp_path):
    class Half(nn.Module):
        def forward(self, y):
            return (y.half() * 300).float()

    def poison(model, x):
        with torch.no_grad():
            model.head.bias.fill_(1000.0)

    report, _, _ = train(tmp_path, poison, model=Net(Half()))
    assert "last.mul[0,0] = inf   (mul, example 0, float16)" in report
    assert "more than float16 holds" in report


def test_a_rate_that_explodes(tmp_path):
    torch.manual_seed(0)
    model = Net(torch.exp)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e4)
    with watch(model, optimizer, out=tmp_path / "run", tell=quiet) as recorder:
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randn(5, 4)).mean().backward()
            optimizer.step()
    report = (recorder.crashes[0] / "report.md").read_text()
    assert "= inf   (exp, example" in report


def test_masks_of_minus_infinity_are_meant(tmp_path):
    """The forward pass of attention fills in −∞ and is sound; the NaN is that of a weight."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    mask = torch.full((4, 4), float("-inf")).triu(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, out=tmp_path / "run", tell=quiet) as recorder:
        for step in range(3):
            if step == 2:
                model.linear2.weight.data[1, 5] = float("nan")
            optimizer.zero_grad()
            model(torch.randn(2, 4, 8), src_mask=mask).pow(2).mean().backward()
            optimizer.step()
    report = (recorder.crashes[0] / "report.md").read_text()
    assert "`linear2.weight[1,5]` was nan before any operation" in report


def test_tokens_are_told(tmp_path):
    torch.manual_seed(0)
    model = NanoGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    decode = "abcdefghijklm".__getitem__
    with watch(model, optimizer, out=tmp_path / "run", decode=decode, tell=quiet) as recorder:
        for step in range(3):
            x, y = tokens()
            if step == 2:
                x[1, 6] = 12
                model.wpe.weight.data[6].mul_(1e38)
            _, loss = model(x, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    report = (recorder.crashes[0] / "report.md").read_text()
    assert "native_layer_norm, 'd' at position 6 of example 0" in report
    assert "'m' at position 6 of example 1" in report


def test_stop_raises_before_the_update(tmp_path):
    def poison(model, x):
        x.fill_(float("nan"))

    model = Net()
    with pytest.raises(WhenceError, match="step 3: a gradient isn't finite"):
        train(tmp_path, poison, model=model, on_bad="stop")
    assert all(p.isfinite().all() for p in model.parameters())
    assert len(list((tmp_path / "run" / "crashes").iterdir())) == 1


def test_skip_leaves_the_parameters(tmp_path):
    def poison(model, x):
        x.fill_(float("nan"))

    _, recorder, model = train(tmp_path, poison, on_bad="skip")
    assert all(p.isfinite().all() for p in model.parameters())
    assert recorder.at(4).redo().differences == []


def test_an_exception_that_leaves_the_loop_is_reported(tmp_path):
    model = Net()
    optimizer = torch.optim.Adam(model.parameters())
    recorder = watch(model, optimizer, out=tmp_path / "run", tell=quiet)

    def loop():
        with recorder:
            for step in range(3):
                y = model(torch.randn(5, 4))
                F.binary_cross_entropy(y.sigmoid(), torch.ones(5, 2 + (step == 2))).backward()
                optimizer.step()
                optimizer.zero_grad()

    with pytest.raises(ValueError, match="Using a target size"):
        loop()
    (folder,) = recorder.crashes
    report = (folder / "report.md").read_text()
    assert folder.name == "000002"
    assert "ValueError: Using a target size" in report
    assert model._forward_hooks == {}


def test_a_dump_opens_in_another_process(tmp_path):
    """What it needs is the model's code alone: here, another model of the same shape."""
    torch.manual_seed(0)
    model = NanoGPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with watch(model, optimizer, out=tmp_path / "run", snapshot_every=3, tell=quiet) as recorder:
        for _ in range(5):
            for _ in range(2):
                x, y = tokens()
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    _, loss = model(x, y)
                (loss / 2).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
        folder = recorder.dump()
    assert {p.suffix for p in folder.iterdir()} == {".html", ".md", ".json", ".safetensors"}
    json.loads((folder / "step.json").read_text())
    torch.manual_seed(1)
    other = NanoGPT()
    past = open_crash(folder, other, torch.optim.AdamW(other.parameters(), lr=1.0))
    redone = past.redo()
    assert redone.differences == []
    for mine, theirs in zip(redone.copies.models[""].parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert math.isfinite(past.trace()["lm_head.weight"][0, 0].value)
    wider = NanoGPT(d=18)
    with pytest.raises(WhenceError, match=r"parameter \S+ differs"):
        open_crash(folder, wider, torch.optim.AdamW(wider.parameters()))


def test_a_damaged_dump_is_refused(tmp_path):
    _, recorder, model = train(tmp_path, lambda model, x: x.fill_(float("nan")))
    path = recorder.crashes[0] / "tensors.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WhenceError, match="sha256 differs"):
        open_crash(recorder.crashes[0], model, torch.optim.Adam(model.parameters()))
