"""Losses that compare more than pairs: margins between classes, alignments, classes of an image."""

from __future__ import annotations

from whence.why.rules.forms.given import constant
from whence.why.rules.forms.picks import by_slot, recounted
from whence.why.rules.forms.rerun import computed, linear, scaled
from whence.why.rules.opening import Rule

_CTC = "−ln of the sum over all alignments of their probability"

RULES: dict[str, Rule] = {
    "multi_margin_loss": computed("Σ of w·max(0, margin − x[y] + x[i])^p / C", "self"),
    "multi_margin_loss_backward": scaled("g·slope of the margin", "grad_output", "self"),
    "multilabel_margin_loss_forward": by_slot(
        computed("Σ of max(0, 1 − x[y] + x[i]) / C", "self"), recounted("whether y", "target")
    ),
    "multilabel_margin_loss_backward": scaled("g·slope of the margin", "grad_output", "self"),
    "nll_loss2d_forward": by_slot(
        linear("−w·x[n, target] / Σ w", "self", shared=("target",)),
        computed("Σ w[target]", "target", "weight"),
    ),
    "nll_loss2d_backward": linear("−g·w at the target, else 0", "grad_output", shared=("target",)),
    "_ctc_loss": by_slot(
        computed(_CTC, "log_probs", roundings=64, backward=32),
        constant("ln α of the alignments so far, as the kernel left it"),
    ),
    "_ctc_loss_backward": scaled(
        "g·(e^x − the share of the alignments through it)", "grad", "log_probs", dim=1, inner=256
    ),
}
