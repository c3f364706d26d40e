"""The field's words for what a number is and for the operation that made it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from whence.why.receipts.update import Update
from whence.why.receipts.whole import Whole
from whence.why.recording.naming import UNNAMED
from whence.why.recording.storage import Ref
from whence.why.recording.tape import Call

if TYPE_CHECKING:
    from whence.why.number import Number
    from whence.why.trace import Trace

_WIDTH = {torch.float64: 64, torch.float32: 32, torch.float16: 16, torch.bfloat16: 15}

WORDS = {
    "mm": "matrix product", "bmm": "matrix product", "addmm": "matrix product plus bias",
    "baddbmm": "matrix product", "linear": "linear layer", "mv": "matrix times vector",
    "dot": "dot product", "embedding": "looked up in the embedding",
    "embedding_dense_backward": "gradients summed over the token's positions",
    "_softmax": "softmax", "_safe_softmax": "softmax",
    "_softmax_backward_data": "softmax, backward",
    "_log_softmax": "log-softmax", "_log_softmax_backward_data": "log-softmax, backward",
    "nll_loss_forward": "cross-entropy", "nll_loss_backward": "cross-entropy, backward",
    "native_layer_norm": "layer norm", "_fused_rms_norm": "RMS norm",
    "_scaled_dot_product_flash_attention_for_cpu": "attention", "native_dropout": "dropout",
    "gelu": "GELU", "silu": "SiLU", "relu": "ReLU", "threshold_backward": "ReLU, backward",
    "tanh": "tanh", "sigmoid": "sigmoid", "rsqrt": "1/√", "sqrt": "√", "exp": "exponential",
    "add": "sum", "sub": "difference", "mul": "product", "div": "quotient", "sum": "sum",
    "mean": "mean", "neg": "negative", "pow": "power", "cat": "concatenated", "stack": "stacked",
    "clone": "copied", "copy": "copied", "detach": "copied", "transpose": "transposed",
    "slice_backward": "gradient of a slice", "select_backward": "gradient of a slice",
    "mse_loss": "mean squared error", "linalg_vector_norm": "norm", "norm": "norm",
    "lerp": "interpolated",
    "ones_like": "set to 1", "zeros_like": "set to 0", "zeros": "set to 0", "_to_copy": "cast",
    "ones": "set to 1", "new_zeros": "set to 0", "addcmul": "plus a product",
    "addcdiv": "plus a quotient", "reciprocal": "1/x", "clamp": "clamped",
    "mkldnn_rnn_layer": "LSTM layer", "convolution": "convolution",
    "native_batch_norm": "batch norm", "_native_batch_norm_legit": "batch norm",
    "native_group_norm": "group norm", "_grouped_mm": "matrix product of each group",
    "max_pool2d_with_indices": "max pooling", "max_pool3d_with_indices": "max pooling",
    "avg_pool1d": "average pooling", "avg_pool2d": "average pooling",
    "avg_pool3d": "average pooling", "constant_pad_nd": "padded", "masked_fill": "masked",
    "_prelu_kernel": "PReLU", "leaky_relu": "leaky ReLU", "elu": "ELU", "glu": "GLU",
    "mish": "Mish", "hardswish": "hard swish", "hardsigmoid": "hard sigmoid",
    "hardtanh": "hard tanh", "huber_loss": "Huber loss", "smooth_l1_loss": "smooth L1 loss",
    "l1_loss": "mean absolute error", "_ctc_loss": "CTC loss", "ctc_loss": "CTC loss",
    "binary_cross_entropy_with_logits": "binary cross-entropy",
    "binary_cross_entropy": "binary cross-entropy", "cross_entropy_loss": "cross-entropy",
    "nll_loss2d_forward": "cross-entropy", "nll_loss2d": "cross-entropy",
    "nll_loss": "cross-entropy", "log_softmax": "log-softmax", "layer_norm": "layer norm",
    "rms_norm": "RMS norm", "scaled_dot_product_attention": "attention",
    "index_select": "rows selected", "clamp_min": "clamped from below",
    "clamp_max": "clamped from above", "triu": "upper triangle", "tril": "lower triangle",
    "arange": "range of numbers",
}  # fmt: skip
# The same operations, where an optimizer does them.
UPDATE = {
    "mul": "decayed", "lerp": "mixed with the gradient", "addcmul": "the gradient's square added",
    "addcdiv": "moved by momentum / √v", "add": "added", "sub": "moved", "sqrt": "√v",
    "div": "bias-corrected", "norm": "norm of the gradient", "_fused_adamw": "moved by AdamW",
    "_fused_adam": "moved by Adam", "_fused_sgd": "moved by SGD",
    "_fused_adagrad": "moved by Adagrad", "copy": "written back",
}  # fmt: skip
# What an optimizer remembers of each weight.
MEMORY = {
    "exp_avg": "Momentum", "m": "Momentum", "momentum": "Momentum", "momentum_buffer": "Momentum",
    "exp_avg_sq": "Mean square gradient", "v": "Mean square gradient",
    "square_avg": "Mean square gradient", "max_exp_avg_sq": "Largest mean square gradient",
    "sum": "Sum of squared gradients", "step": "Step count",
}  # fmt: skip
MEANS = {"Momentum": "momentum (before this step)"}


def operation(call: Call) -> str:
    """Say what an operation did: `_to_copy` → "rounded to bfloat16", `_foreach_mul` → "decayed"."""
    name = call.name.removeprefix("_foreach_").rstrip("_")
    if name == "_to_copy":
        return _cast(call)
    if call.op.phase == "update" and name in UPDATE:
        return UPDATE[name]
    return in_words(name)


def in_words(name: str) -> str:
    """Say what an operation of this raw name does, whatever it was done to."""
    plain = name.removeprefix("_foreach_").rstrip("_")
    known = WORDS.get(plain) or UPDATE.get(plain)
    if known is None and plain.endswith("_backward"):
        return f"{in_words(plain.removesuffix('_backward'))}, backward"
    return known or plain.strip("_").replace("_", " ")


def made_by(trace: Trace, name: str) -> str:
    """Say which operation wrote the tensor of this name; "" where none of the step did."""
    call = _maker(trace, name)
    return "" if call is None else operation(call)


def spoken(trace: Trace, name: str) -> tuple[str, str] | None:
    """Say what a name that only an operation gave means: where, and what was done there.

    Args:
        trace: the step.
        name: a tensor's name, such as `head.to_copy#2`.

    Returns:
        The module or weight and the operation in words ("norm", "rounded to bfloat16"; of several
        the second is "product (2)"); `None` where a module, a variable or an optimizer named it.
    """
    ref = trace[name].ref if name in trace else None
    if not isinstance(ref, Ref) or not any(
        known == name and rank == UNNAMED for rank, known, _ in ref.version.names
    ):
        return None
    call = _maker(trace, name)
    if call is None:
        return None
    source = call.values.get("self")
    if call.op.name == "_to_copy" and isinstance(source, Ref):
        return trace.name_of(source), operation(call)
    plain, _, again = name.partition("#")
    raw = call.op.name.removeprefix("_foreach_").removeprefix("_")
    place, found, part = plain.rpartition(raw)
    place = (place if found else plain).rstrip(".")
    for inner in ("optimizer", "backward"):
        place = "" if place == inner else place.removesuffix(f".{inner}")
    words = operation(call)
    if call.op.phase == "backward" and "backward" not in words:
        words += ", backward"
    words += f", {part.strip('.')}" if found and part.strip(".") else ""
    return place, words + (f" ({again})" if again else "")


def _maker(trace: Trace, name: str) -> Call | None:
    ref = trace[name].ref if name in trace else None
    writer = ref.version.writer if isinstance(ref, Ref) else None
    if writer is None or not isinstance(ref, Ref):
        return None
    slots = (i for i, o in enumerate(writer.outputs) if o is not None and o.version is ref.version)
    slot = next(slots, None)
    return None if slot is None else writer.call(slot)


def _cast(call: Call) -> str:
    source: Any = call.values.get("self")
    dtype = call.output.dtype
    to = str(dtype).removeprefix("torch.")
    if not isinstance(source, Ref) or source.dtype == dtype:
        return "copied"
    narrower = _WIDTH.get(dtype, 0) < _WIDTH.get(source.dtype, 0)
    return f"rounded to {to}" if narrower else f"widened to {to}"


def title(number: Number) -> str:
    """Name a number as the field does: `Weight head[22,19], step 149`."""
    trace = number.trace
    step = "" if trace.step is None else f", step {trace.step}"
    return _titled(trace, number) + step


def _titled(trace: Trace, number: Number) -> str:
    if isinstance(number.ref, Whole):
        return "Loss of the whole batch"
    name, index, quantity = _parts(number.address)
    plain = name.partition("#")[0]
    own = _own(trace, plain) + index
    raw = spoken(trace, name)
    if raw is not None:
        own = (f"{raw[0]}{index}, {raw[1]}" if raw[0] else f"{raw[1]}{index}") + quantity
        return f"Intermediate {own}"
    if plain == "logits" and trace.labels.decode is not None and index:
        outcome = int(index.rstrip("]").rpartition(",")[2])
        where = trace.labels.describe(number.ref, number.at).partition(" (")[0]
        if trace.labels.place(number.ref, np.array([number.at])).token is None:
            own = f"Logit of class {outcome}" + (f", {where}" if where else index)
        else:
            own = f"Logit of {trace.labels.text(outcome)}" + (f" after {where}" if where else index)
    again = f" (#{name.partition('#')[2]})" if "#" in name else ""
    if isinstance(number.ref, Update):
        return f"Change of {_lower(own)}"
    if quantity == ".grad":
        return f"Gradient of {_lower(own)}{again}"
    if quantity == ".after":
        return f"{own} after the step"
    return own + again


def _own(trace: Trace, name: str) -> str:
    """A tensor's name with what it is: `Weight head`, `Momentum of weight head`, `Logit`."""
    if name in trace.parameters:
        last = name.rpartition(".")[2]
        kind = {"weight": "Weight", "bias": "Bias"}.get(last, "Parameter")
        return f"{kind} {name.removesuffix('.' + last) if kind != 'Parameter' else name}"
    owner, _, kind = name.rpartition(".")
    if owner in trace.parameters and kind in MEMORY:
        return f"{MEMORY[kind]} of {_lower(_own(trace, owner))}"
    if name == "loss":
        return "Loss"
    if name == "logits":
        return "Logit"
    if name.endswith("attn.weights"):
        return f"Attention weight {name}"
    if re.fullmatch(r"(.*\.)?(backward|optimizer)(\..*)?", name):
        return f"Intermediate {name}"
    if owner in trace.parameters:
        return f"Optimizer state {name}"
    ref = trace[name].ref if name in trace else None
    given = isinstance(ref, Ref) and ref.version.writer is None and not ref.version.unseen
    return f"{'Input' if given else 'Activation'} {name}"


def _parts(address: str) -> tuple[str, str, str]:
    """`w[3,7].grad` → ("w", "[3,7]", ".grad")."""
    found = re.fullmatch(r"(.*?)(\[[^\]]*\])?((?:\.(?:grad|after|update))*(?:#\d+)?)", address)
    assert found is not None
    name, index, quantity = found[1], found[2] or "", found[3]
    plain, _, again = quantity.partition("#")
    return name + (f"#{again}" if again else ""), index, plain


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
