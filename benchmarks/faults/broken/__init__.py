"""What breaks a model, by name."""

from collections.abc import Callable

from torch import nn

from benchmarks.faults.broken.attention import MISTAKES, attention_with
from benchmarks.faults.broken.order import ORDER
from benchmarks.faults.broken.parts import PARTS
from benchmarks.faults.broken.start import START

BREAK: dict[str, Callable[[nn.Module], None]] = {
    **START,
    **PARTS,
    **ORDER,
    **{mistake: attention_with(mistake) for mistake in MISTAKES},
}
