"""A table of how often each true label was taken for each."""

from collections.abc import Callable, Sequence


def say_confusion(
    table: Sequence[Sequence[int]], labels: Sequence[str], say: Callable[[str], None]
) -> None:
    """Print how often each true label (row) was taken for each (column)."""
    width = max(6, *(len(label) + 2 for label in labels))
    corner = "true \\ said"
    say(f"{corner:<{width + 4}}" + "".join(f"{label:>{width}}" for label in labels))
    for label, row in zip(labels, table, strict=True):
        say(f"{label:<{width + 4}}" + "".join(f"{n or '·':>{width}}" for n in row))
