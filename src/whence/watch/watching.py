"""`watch`: one line that records any PyTorch training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import psutil
from torch import distributed

from whence.errors import WhenceError, in_bytes
from whence.runs.training.creation import at_free
from whence.watch.decoders import found_decoder
from whence.watch.disk.keeping import cost_of, spacing
from whence.watch.disk.record import Folder
from whence.watch.recorder import OnBad, Recorder
from whence.watch.ring import Ring
from whence.watch.step.world import World


def watch(
    model: Any,
    optimizer: Any,
    out: Path | str | None = None,
    *,
    loss: Any = None,
    steps: int = 32,
    memory: int | None = None,
    snapshot_every: int = 8,
    keep: str = "crash",
    decode: Callable[[int], str] | None = None,
    source: Callable[[Any], Any] | None = None,
    on_bad: OnBad = "report",
    spike: float | None = 6.0,
    build: str | None = None,
    shared: Sequence[Any] = (),
    tell: Callable[[str], None] | None = None,
) -> Recorder:
    """Record a training loop from here on; the loop itself stays as it is.

    Hooks on the model and the optimizer keep, of each of the last steps, what is needed to do it
    again to the bit: inputs, random generators, the gradients that came from outside the model,
    and those that the update saw. The loop computes the same bits as without.

    Args:
        model: an `nn.Module`, several in a list, or several as name → module.
        optimizer: one of torch's, or several in the order in which the loop steps them; a step ends
            with the update of the last. After the update of one that isn't torch's, call `step()`.
        out: the folder for the record and for crash reports, not there yet; none: one in `runs/`.
            Of several processes each has its own, with `-rankN` behind its name.
        loss: the loop's loss function, so that receipts go on to the targets; call one that isn't
            a module as `recorder.loss`.
        steps: at most so many of the last steps are kept in memory.
        memory: bytes that they may take; none: a quarter of what the machine has free, at most
            2 GB. The steps since the last snapshot are kept in any case.
        snapshot_every: steps between two copies of parameters and of the optimizers' state.
        keep: the steps that are stored on disk: `crash` for those that are reported, `all`, or such
            as `every 100`.
        decode: token id → its text, such as a tokenizer's `decode`; none: that of the tokenizer
            beside the files that a Hugging Face model was loaded from.
        source: what the model is given → the rows of the data set that it is made of.
        on_bad: at a gradient or a loss that isn't finite, and at a spike: `report` it and go on,
            `stop` with an error before the update, or `skip` the update.
        spike: the z-score of the gradient's norm, or of the loss, above which it is one; none:
            nothing is.
        build: `module:function` that builds the model, for the commands of a report.
        shared: objects that modules refer to and that are not to be copied with them.
        tell: is given the sentences that a person should read; none: they go to standard error.

    Returns:
        The recorder: `at(step)` goes back, `log(loss=…)` adds to the record, `dump()` writes a
        report, `close()` (or the end of a `with`) takes all hooks away.

    Raises:
        WhenceError: something isn't a module, or the folder can't be made.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Linear(2, 1)  # any module, and any loop around it
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> out = Path(tempfile.mkdtemp()) / "mine"
        >>> with watch(net, optimizer, out=out, tell=lambda sentence: None) as recorder:
        ...     for _ in range(3):
        ...         loss = net(torch.ones(4, 2)).pow(2).mean()
        ...         loss.backward()
        ...         optimizer.step()
        ...         optimizer.zero_grad()
        ...         recorder.log(loss=loss)
        ...     trace = recorder.at(1).trace()
        >>> receipt = trace.number("weight[0,1].update").why()
        >>> abs(receipt.residual) <= receipt.bound
        True
    """
    if on_bad not in get_args(OnBad):
        raise WhenceError(f"on_bad is {on_bad!r}: give report, stop or skip.")
    for name, value in (("steps", steps), ("snapshot_every", snapshot_every)):
        if value < 1:
            raise WhenceError(f"{name} is {value}: give 1 or more.")
    if spike is not None and not spike > 0:
        raise WhenceError(f"spike is {spike}: give a z-score above 0, or None.")
    every = spacing(keep)
    world = World(model, optimizer, loss, shared)
    kinds = "-".join(type(m).__name__ for n, m in world.written.items() if n != "loss")
    if memory is None:
        memory = min(psutil.virtual_memory().available // 4, 2 * 10**9)
    found = decode or found_decoder(list(world.written.values()))
    rank = ""
    if distributed.is_available() and distributed.is_initialized():
        rank = f"-rank{distributed.get_rank()}"
    if out is None:
        folder = at_free(Path("runs"), kinds + rank, lambda free: Folder(free, world, build))
    else:
        folder = Folder(Path(f"{Path(out)}{rank}"), world, build)
    recorder = Recorder(
        world, Ring(steps, memory, snapshot_every), folder, every=every, decode=found,
        source=source, on_bad=on_bad, spike=spike, build=build, tell=tell,
    )  # fmt: skip
    recorder.say(
        f"watching {kinds}: the last {steps} steps stay in memory, in up to {in_bytes(memory)}, "
        f"and each step's line goes to {folder.path}"
    )
    if every:
        recorder.say(cost_of(world, every, snapshot_every))
    if world.blind:
        recorder.say(
            f"the updates of {', '.join(world.blind)} can't be seen, since it isn't a "
            "torch.optim.Optimizer: call recorder.step() after each of them"
        )
    return recorder
