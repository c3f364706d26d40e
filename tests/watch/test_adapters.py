"""Trainers that people use, with their real packages: watched, stopped, opened at step 17."""

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

import whence
from tests.watch.tiny import gpt2, same, sentence, tokenizer
from whence.runs.store.records.record import Logs
from whence.watch.trainer import WatchCallback

pytestmark = pytest.mark.filterwarnings("default")  # theirs aren't ours

STEPS = 20


def settings(kind, folder, **more):
    return kind(
        output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=2,
        gradient_accumulation_steps=2, learning_rate=1e-2, max_grad_norm=0.5, report_to=[],
        save_strategy="no", use_cpu=True, disable_tqdm=True, logging_steps=1,
        dataloader_pin_memory=False, bf16=False, **more,
    )  # fmt: skip


def quiet(_):
    pass


def trained(make, tmp_path):
    """Train unwatched and watched; the bits must be the same."""
    plain = make(tmp_path / "plain")
    plain.train()
    trainer = make(tmp_path / "watched")
    callback = WatchCallback(tmp_path / "run", tell=quiet)
    trainer.add_callback(callback)
    trainer.train()
    assert same(plain.model, trainer.model)
    recorder = callback.recorder
    assert recorder.steps[-1] == STEPS - 1
    assert not trainer.model._forward_hooks
    redone = recorder.at(-1).redo()
    assert redone.differences == []
    assert same(redone.copies.models[""], trainer.model)
    return trainer, recorder


def labels(recorder, address, step=17):
    """What the number at an address is made of, by row of the data set and by token."""
    trace = recorder.at(step).trace()
    assert not any("approximate" in note for note in trace.notes), trace.notes
    number = trace.number(address)
    receipt = number.why()
    assert abs(receipt.residual) <= receipt.bound
    rows = number.attribution("where")
    assert sum(s.value for s in rows.shares) + rows.rounding == pytest.approx(rows.value)
    return [s.label for s in rows.shares], [s.label for s in number.attribution("token").shares]


def of(recorder, step=17):
    """The row of each example of a step."""
    return recorder.at(step).rows


def test_transformers_trainer(tmp_path):
    words = tokenizer()

    def make(folder):
        rows = Dataset.from_list([{"text": sentence(row)} for row in range(40)])

        def encode(row):
            ids = words(row["text"])["input_ids"]
            return {"input_ids": ids, "labels": ids}

        rows = rows.map(encode, remove_columns=["text"])
        arguments = settings(TrainingArguments, folder)
        return Trainer(gpt2(), arguments, train_dataset=rows, processing_class=words)

    trainer, recorder = trained(make, tmp_path)
    rows = of(recorder)
    assert len(rows) == 4
    assert None not in rows
    where, tokens = labels(recorder, "transformer.h.0.mlp.c_fc.weight[3,7].update")
    for row in rows:
        assert any(f"row {row}" in label for label in where), where
    known = {word for row in rows for word in sentence(row).split()}
    assert {label.strip("'") for label in tokens if label.startswith("'")} <= known
    logged = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    recorded = Logs(tmp_path / "run").read_steps().column("loss")
    assert recorded == pytest.approx(logged, abs=1e-3)
    batch = recorder.at(17).step.calls[0].batch
    assert recorder.source(batch) == rows[:2]


def test_trl_sft(tmp_path):
    def make(folder):
        rows = Dataset.from_list([{"text": sentence(row, 5 + row % 4)} for row in range(40)])
        arguments = settings(SFTConfig, folder, max_length=16, packing=False)
        return SFTTrainer(gpt2(), arguments, train_dataset=rows, processing_class=tokenizer())

    _, recorder = trained(make, tmp_path)
    rows = of(recorder)
    assert None not in rows
    where, tokens = labels(recorder, "transformer.h.1.attn.c_proj.weight[3,7].update")
    for row in rows:
        assert any(f"row {row}" in label for label in where), where
    known = {word for row in rows for word in sentence(row, 5 + row % 4).split()}
    assert {label.strip("'") for label in tokens if label.startswith("'")} <= known


def test_trl_dpo(tmp_path):
    def make(folder):
        rows = Dataset.from_list(
            [
                {"prompt": sentence(row, 3), "chosen": " " + sentence(row + 50, 3),
                 "rejected": " " + sentence(row + 90, 4)}
                for row in range(40)
            ]
        )  # fmt: skip
        arguments = settings(DPOConfig, folder, max_length=16)
        return DPOTrainer(
            gpt2(), gpt2(), arguments, train_dataset=rows, processing_class=tokenizer()
        )

    trainer, recorder = trained(make, tmp_path)
    rows = of(recorder)
    assert len(rows) == 8  # chosen and rejected
    assert None not in rows
    where, _ = labels(recorder, "transformer.h.0.mlp.c_fc.weight[3,7].update")
    assert any(f"row {rows[0]}" in label for label in where)
    logged = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    recorded = Logs(tmp_path / "run").read_steps().column("loss")
    assert recorded == pytest.approx(logged, abs=1e-3)


def test_peft_lora(tmp_path):
    words = tokenizer()

    def make(folder):
        torch.manual_seed(0)
        model = get_peft_model(
            gpt2(), LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True,
                               lora_dropout=0.1, task_type="CAUSAL_LM"),
        )  # fmt: skip
        ids = [words(sentence(row))["input_ids"] for row in range(40)]
        rows = Dataset.from_list([{"input_ids": one, "labels": one} for one in ids])
        arguments = settings(TrainingArguments, folder)
        return Trainer(model, arguments, train_dataset=rows, processing_class=words)

    trainer, recorder = trained(make, tmp_path)
    name = next(n for n, p in trainer.model.named_parameters() if "lora_B" in n and p.requires_grad)
    where, _ = labels(recorder, f"{name}[3,1].update")
    rows = [label.split(":")[0] for label in where if label.startswith("row ")]
    assert rows
    assert set(rows) <= {f"row {row}" for row in of(recorder)}
    frozen = next(n for n, p in trainer.model.named_parameters() if not p.requires_grad)
    assert recorder.at(17).trace().number(f"{frozen}[0,0]").why().verdict == "given"


def test_accelerate_needs_no_adapter(tmp_path):
    from accelerate import Accelerator
    from torch import nn

    def loop(out):
        torch.manual_seed(0)
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.1), nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        model, optimizer = accelerator.prepare(model, optimizer)
        recorder = whence.watch(model, optimizer, out=out, tell=quiet) if out else None
        for _ in range(8):
            with accelerator.accumulate(model):
                accelerator.backward(model(torch.randn(5, 4)).pow(2).mean())
                accelerator.clip_grad_norm_(model.parameters(), 0.1)
                optimizer.step()
                optimizer.zero_grad()
        return model, recorder

    plain, _ = loop(None)
    model, recorder = loop(tmp_path / "mine")
    assert same(plain, model)
    assert recorder.steps == range(4)
    for step in recorder.steps:
        redone = recorder.at(step).redo()
        assert redone.differences == []
    assert same(redone.copies.models[""], model)
    recorder.close()
