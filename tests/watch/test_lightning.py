"""Lightning's Trainer, with its real package: watched, stopped, opened at step 17."""

import lightning
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn

from tests.watch.tiny import SPECIAL, WORDS, same, sentence, tokenizer
from whence.errors import WhenceError
from whence.runs.store.records.record import Logs
from whence.watch.lightning import WatchCallback

pytestmark = pytest.mark.filterwarnings("default")  # theirs aren't ours
SIZE = len(SPECIAL) + len(WORDS)


class Words(torch.utils.data.Dataset):
    """(tokens, the next tokens) of each sentence."""

    def __init__(self):
        encoder = tokenizer()
        self.ids = [torch.tensor(encoder(sentence(row))["input_ids"]) for row in range(40)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        return self.ids[row][:-1], self.ids[row][1:]


class Module(lightning.LightningModule):
    """Its training step calls its parts, as most do."""

    def __init__(self, fails_at=None):
        super().__init__()
        self.net = nn.Sequential(
            nn.Embedding(SIZE, 8), nn.Dropout(0.1), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, SIZE)
        )
        self.criterion = nn.CrossEntropyLoss()
        self.fails_at = fails_at

    def training_step(self, batch, index):
        if index == self.fails_at:
            raise ArithmeticError("a bad batch")
        x, y = batch
        loss = self.criterion(self.net(x).flatten(0, 1), y.flatten())
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 10)]


def fit(callbacks, module=None, plugins=None):
    torch.manual_seed(0)
    module = module or Module()
    loader = torch.utils.data.DataLoader(
        Words(), batch_size=2, shuffle=True, generator=torch.Generator().manual_seed(2)
    )
    trainer = lightning.Trainer(
        max_steps=30, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=callbacks,
        gradient_clip_val=0.5, plugins=plugins,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module


@pytest.mark.parametrize("bf16", [False, True])
def test_step_17_opens_down_to_the_tokens_of_rows(tmp_path, bf16):
    def plugins():
        return [MixedPrecision("bf16-mixed", "cpu")] if bf16 else None

    plain = fit([], plugins=plugins())
    told = []
    callback = WatchCallback(tmp_path / "run", decode=tokenizer().decode, tell=told.append)
    watched = fit([callback], plugins=plugins())
    assert same(plain, watched)
    recorder = callback.recorder
    assert recorder.steps[-1] == 29
    for step in (17, 29):
        redone = recorder.at(step).redo()
        assert redone.differences == [], redone.notes
    assert same(redone.copies.models[""], watched)
    trace = recorder.at(17).trace()
    assert not any("approximate" in note for note in trace.notes), trace.notes
    number = trace.number("net.2.weight[3,5].update")
    receipt = number.why()
    assert abs(receipt.residual) <= receipt.bound
    rows = recorder.at(17).rows
    assert len(rows) == 2
    labels = [s.label for s in number.attribution("where").shares]
    assert any(f"row {rows[0]}" in label for label in labels), labels
    loss = Logs(tmp_path / "run").read_steps().column("loss")[17]
    assert trace.loss.value == pytest.approx(loss, rel=1e-6)
    if not bf16:  # the loss is a part of the module: it opens to the targets
        assert "x[n, target[n]]" in trace.number("loss").why().symbols


def test_an_exception_is_reported(tmp_path):
    callback = WatchCallback(tmp_path / "run", tell=lambda sentence: None)
    with pytest.raises(WhenceError, match="hasn't begun"):
        _ = callback.recorder
    with pytest.raises(ArithmeticError):
        fit([callback], Module(fails_at=3))
    (folder,) = callback.recorder.crashes
    assert "ArithmeticError: a bad batch" in (folder / "report.md").read_text()
