"""Watching `transformers.Trainer`, and what is built on it: TRL's SFTTrainer and DPOTrainer.

Needs `pip install whence[transformers]`.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from whence.watch.callback import Callback
from whence.watch.decoders import decoder_of
from whence.watch.rows import Rows


class WatchCallback(Callback, TrainerCallback):
    """Watches a Trainer from the beginning of its training to the end.

    The tokenizer is the trainer's, and the rows of a batch are found in its data set by their
    tokens. The loss is what the model returns; where the trainer computes it outside the model, it
    is what the trainer logs, if it logs at every step.

    Args:
        out: the folder; none: one in `runs/`.
        options: those of `whence.watch`.

    Attributes:
        recorder: the recorder of the last training.

    Example:
        >>> trainer = Trainer(model, arguments, train_dataset=rows)  # doctest: +SKIP
        >>> watched = WatchCallback("runs/mine")  # doctest: +SKIP
        >>> trainer.add_callback(watched)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
        >>> watched.recorder.at(17).trace()  # doctest: +SKIP
    """

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **about: Any,
    ) -> None:
        """Begin to watch."""
        data = getattr(about.get("train_dataloader"), "dataset", None)
        self._begin(
            about["model"],
            about["optimizer"],
            decode=decoder_of(about.get("processing_class")),
            source=Rows(data) if hasattr(data, "__len__") else None,
        )

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **about: Any,
    ) -> None:
        """Take up the loss and the gradient's norm, where they are of one step."""
        each = args.logging_strategy == "steps" and state.logging_steps == 1
        if self._recorder is None or not each or not logs or "loss" not in logs:
            return
        norm = logs.get("grad_norm")
        self._recorder.log(
            loss=float(logs["loss"]) if self._recorder.has_no_loss else None,
            grad_norm=None if norm is None else float(norm),
        )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **about: Any
    ) -> None:
        """Stop watching; what is in memory can still be opened."""
        if self._recorder is not None:
            self._recorder.close()
