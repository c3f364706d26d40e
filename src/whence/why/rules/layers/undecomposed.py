"""Operations that reach the recorder whole in inference mode, where autograd takes none apart."""

from __future__ import annotations

import numpy as np

from whence.why.recording.storage import Index
from whence.why.recording.tape import Call
from whence.why.rules.elements.elementwise import copy
from whence.why.rules.forms.picks import moves
from whence.why.rules.forms.rerun import computed
from whence.why.rules.layers.attention import attention
from whence.why.rules.opening import Opened, Rule
from whence.why.rules.training.loss import log_softmax, softmax


def attended(call: Call, at: Index) -> Opened:
    """Open attention that wasn't handed to a fused kernel; of other than four dimensions whole."""
    if len(call["query"].size) == 4 and not call["dropout_p"]:
        opened = attention(call, at)
        size = np.abs(call["value"].gather(np.arange(call["value"].numel))).max(initial=0.0)
        opened.absolute = np.asarray(opened.absolute) + 64 * 2.0**-24 * size
        return opened
    return computed("Σⱼ softmax(q·k)[j]·v[j]", "query", "key", "value", backward=32)(call, at)


RULES: dict[str, Rule] = {
    "scaled_dot_product_attention": attended,
    "_scaled_dot_product_attention_math": attended,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "to": copy,
    "type_as": copy,
    "layer_norm": computed("γ·(x − mean)/√(var + ε) + β"),
    "rms_norm": computed("γ·x/√(mean(x²) + ε)"),
    "group_norm": computed("γ·(x − mean)/√(var + ε) + β"),
    "batch_norm": computed("γ·(x − mean)/√(var + ε) + β", "input", "weight", "bias"),
    "cross_entropy_loss": computed("−Σ ln softmax(x)[target] / n", "self"),
    "nll_loss": computed("−Σ x[target] / n", "self"),
    "nll_loss_nd": computed("−Σ x[target] / n", "self"),
    "pad": moves("x inside, the fill value or x again outside", "self", fill="value"),
}
