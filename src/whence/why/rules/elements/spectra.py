"""Fourier transforms and windows."""

from __future__ import annotations

from whence.why.rules.forms.given import constant
from whence.why.rules.forms.rerun import linear
from whence.why.rules.opening import Rule

_WINDOWS = "hann_window hamming_window blackman_window bartlett_window kaiser_window"

RULES: dict[str, Rule] = {
    "_fft_c2c": linear("Σₖ x[k]·e^∓2πijk/n", "self", inner=16),
    "_fft_r2c": linear("Σₖ x[k]·e^∓2πijk/n", "self", inner=16),
    "_fft_c2r": linear("Σₖ x[k]·e^±2πijk/n", "self", inner=16),
    **dict.fromkeys(_WINDOWS.split(), constant("a window")),
}
