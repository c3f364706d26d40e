"""Watching a LightningModule's training. Needs `pip install whence[lightning]`."""

from __future__ import annotations

from typing import Any

import lightning
from torch import nn

from whence.watch.callback import Callback
from whence.watch.rows import Rows


class WatchCallback(Callback, lightning.Callback):
    """Watches a Lightning trainer from the beginning of its training to the end.

    `training_step` calls the module itself or its parts; both are watched. A loss that is a part,
    as `self.criterion = nn.CrossEntropyLoss()`, is opened down to the targets.

    Args:
        out: the folder; none: one in `runs/`.
        options: those of `whence.watch`.

    Example:
        >>> watched = WatchCallback("runs/mine")  # doctest: +SKIP
        >>> lightning.Trainer(callbacks=[watched]).fit(module, loader)  # doctest: +SKIP
        >>> watched.recorder.at(17).trace()  # doctest: +SKIP
    """

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Begin to watch."""
        data = getattr(trainer.train_dataloader, "dataset", None)
        self._begin(
            {"": pl_module, **_parts(pl_module)},
            trainer.optimizers,
            source=Rows(data) if hasattr(data, "__len__") else None,
            shared=[trainer],
        )

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take up the loss that `training_step` returned."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if self._recorder is not None and loss is not None and self._recorder.has_no_loss:
            self._recorder.log(loss=loss)

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Report what leaves the training, and stop watching."""
        if self._recorder is not None:
            if isinstance(exception, Exception):
                self._recorder.failed(exception)
            self._recorder.close()

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Stop watching; what is in memory can still be opened."""
        if self._recorder is not None:
            self._recorder.close()


def _parts(module: nn.Module, prefix: str = "") -> dict[str, nn.Module]:
    """List the parts that a training step may call: of lists and dictionaries, what is in them."""
    found: dict[str, nn.Module] = {}
    for name, part in module.named_children():
        if isinstance(part, nn.ModuleList | nn.ModuleDict):
            found.update(_parts(part, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = part
    return found
