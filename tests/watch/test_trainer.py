"""transformers' own Trainer, which knows nothing of being watched."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import whence
from whence.runs.store.records.record import Logs


class Rows(torch.utils.data.Dataset):
    """Windows of token ids, each its own target."""

    def __init__(self):
        self.ids = torch.randint(23, (40, 8), generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, row):
        return {"input_ids": self.ids[row], "labels": self.ids[row]}


def train(folder, watched=None, steps=20):
    """Train a tiny GPT-2 with accumulation, clipping, a warm-up and dropout."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 23, "n_positions": 8, "n_embd": 16, "n_layer": 2, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(**sizes))
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, warmup_steps=4, learning_rate=1e-2, max_grad_norm=0.5,
        report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(model, arguments, train_dataset=Rows())
    recorder = None
    if watched is not None:
        trainer.create_optimizer()
        optimizer = trainer.optimizer
        recorder = whence.watch(model, optimizer, out=watched, tell=lambda sentence: None)
    trainer.train()
    return model, trainer, recorder


@pytest.mark.filterwarnings("default")  # those of transformers and accelerate aren't ours
def test_a_trainer_is_watched_and_its_step_17_opens(
    tmp_path,
):
    plain, _, _ = train(tmp_path / "plain")
    model, trainer, recorder = train(tmp_path / "watched", tmp_path / "run")
    for a, b in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert recorder.steps[-1] == 19
    redone = recorder.at(-1).redo()
    assert redone.differences == []
    for a, b in zip(redone.copies.models[""].parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    trace = recorder.at(17).trace()
    assert not any("approximate" in note for note in trace.notes)
    rows = [list(row) for call in recorder.at(17).step.calls for row in call.kwargs["input_ids"]]
    known = Rows().ids.tolist()
    assert [[int(t) for t in row] in known for row in rows] == [True] * 4
    token = int(rows[0][3])
    attribution = trace.number(f"transformer.wte.weight[{token},7].grad").attribution("token")
    assert {s.label for s in attribution.shares} <= {f"token {int(t)}" for row in rows for t in row}
    assert sum(s.value for s in attribution.shares) + attribution.rounding == pytest.approx(
        attribution.value
    )
    recorder.close()
    logged = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    recorded = Logs(tmp_path / "run").read_steps().column("loss")
    assert recorded == pytest.approx(logged, abs=1e-3)
