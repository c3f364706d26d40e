"""Names for what no module or variable named: gradients, moments, and unnamed results."""

from __future__ import annotations

from whence.why.recording.naming import OUTPUT, PARAMETER, UNNAMED, VARIABLE
from whence.why.recording.recorder import Recorder
from whence.why.recording.storage import Memory, Ref
from whence.why.recording.tape import Op, flatten

# What the further outputs of some operations are called.
_RESULTS = {
    "native_layer_norm": ("", "mean", "rstd"),
    "_fused_rms_norm": ("", "rstd"),
    "nll_loss_forward": ("", "weight"),
    "native_dropout": ("", "mask"),
    "_scaled_dot_product_flash_attention_for_cpu": ("", "logsumexp"),
    "native_layer_norm_backward": ("input", "weight", "bias"),
}


def name_the_rest(
    recorder: Recorder, parameters: dict[str, Ref], before: dict[str, Ref], after: dict[str, Ref]
) -> None:
    """Give every tensor of the step a name.

    Args:
        recorder: what was recorded.
        parameters: the parameters as they were before.
        before: the same with the optimizer's tensors.
        after: all of these as they were afterwards.
    """
    namer = recorder.namer
    for name, ref in after.items():
        if name not in before:  # made in this step: its first content stands for "before"
            first = ref.version.memory.versions[0]
            region = next((r for r, _ in first.regions if r.size == ref.size), ref)
            namer.give(name, region, PARAMETER)
    for loss in recorder.gradients.losses:
        namer.give("loss", loss, OUTPUT)
    if "logits" not in namer.names and "output" in namer.names:
        namer.names["logits"] = namer.names["output"]
    for name, ref in after.items():
        if ref is not before.get(name):
            ref.version.names.append((PARAMETER, f"{name}.after", ref))
    _name_gradients(recorder)
    memories = {ref.version.memory for ref in [*before.values(), *after.values()]}
    own = {ref.version.memory for ref in parameters.values()}
    _find_updates(recorder, own, memories - own)
    owners = _owners(recorder, parameters, {**before, **after})
    for op in recorder.ops:
        for output in op.outputs if not op.alias else ():
            if output is not None and not output.version.names:
                _name_as_before(recorder, output)
    for variable, ref in namer.held:
        if ref is not None and not ref.version.names:
            owner = owners.get(ref.version.memory, "optimizer")
            namer.give(f"{owner}.{variable}", ref, VARIABLE)
    for memory in recorder.memories:
        if memory.outside and not memory.versions[0].names:
            largest = max(memory.versions[0].seen, key=lambda ref: ref.numel, default=None)
            namer.give("given", largest, UNNAMED)
    for op in recorder.ops:
        if not op.alias:
            _name_outputs(recorder, op, owners)


def _name_gradients(recorder: Recorder) -> None:
    for ref, gradient in dict(recorder.gradients.pairs).items():
        exact = [n for n in ref.version.names if n[2] is ref]
        if exact:
            rank, name, _ = min(exact, key=lambda n: n[0])
            recorder.namer.give(f"{name}.grad", gradient, min(rank, OUTPUT))


def _find_updates(recorder: Recorder, parameters: set[Memory], moments: set[Memory]) -> None:
    """Mark as update what, outside of autograd, reads gradients or moments or writes parameters."""
    read = {gradient.version.memory for _, gradient in recorder.gradients.pairs} | moments
    started = False
    for op in recorder.ops:
        started = started or op.phase == "backward"
        if not started or op.phase != "forward" or op.sequence >= 0:
            continue
        inputs = {ref.version.memory for ref in flatten([*op.args, *op.kwargs.values()], Ref)}
        if inputs & read or (inputs & parameters and op.func._schema.is_mutable):
            op.phase = "update"
            read |= {o.version.memory for o in op.outputs if o is not None} - parameters


def _owners(
    recorder: Recorder, parameters: dict[str, Ref], known: dict[str, Ref]
) -> dict[Memory, str]:
    """Tell which parameter a tensor of the optimizer belongs to."""
    owners: dict[Memory, str] = {}
    for name, ref in known.items():
        owner = name if name in parameters else name.rpartition(".")[0]
        owners.setdefault(ref.version.memory, owner)
    for ref, gradient in recorder.gradients.pairs:
        if ref.version.memory in owners:
            owners.setdefault(gradient.version.memory, owners[ref.version.memory])
    for op in recorder.ops:
        if op.phase != "update":
            continue
        for slot, output in enumerate(op.outputs):
            if output is None or output.version.memory in owners:
                continue
            inputs = flatten(list(op.call(slot).values.values()), Ref)
            several = {owners[r.version.memory] for r in inputs if r.version.memory in owners}
            if len(several) == 1:
                owners[output.version.memory] = several.pop()
    return owners


def _name_as_before(recorder: Recorder, output: Ref) -> None:
    """Name what was written in place after what was there before: `x#2` after `x`."""
    number = output.version.number
    if number:
        earlier = output.version.memory.versions[number - 1]
        same = [n for n in earlier.names if n[2].size == output.size and n[0] != UNNAMED]
        if same:
            name = min(same, key=lambda n: n[0])[1].partition("#")[0]
            recorder.namer.give(name.removesuffix(".after"), output, VARIABLE)


def _name_outputs(recorder: Recorder, op: Op, owners: dict[Memory, str]) -> None:
    for slot, output in enumerate(op.outputs):
        if output is None or output.version.names:
            continue
        owner = owners.get(output.version.memory, "")
        if op.phase == "update":
            place = f"{owner}.optimizer" if owner else "optimizer"
        elif op.phase == "backward":
            module = op.forward.module if op.forward is not None else ""
            place = f"{module}.backward" if module else "backward"
        else:
            place = op.module
        name = op.name.removeprefix("_foreach_").removeprefix("_")
        parts = _RESULTS.get(op.name, ())
        if slot < len(parts):
            part = parts[slot]
        else:  # of grouped operations, the owner tells the outputs apart
            part = str(slot) if slot and len(op.outputs) < 8 and not op.grouped else ""
        full = ".".join(p for p in (place, name, part) if p)
        recorder.namer.give(full, output, UNNAMED)
