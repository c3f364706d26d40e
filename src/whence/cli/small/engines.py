"""How far the results of two engines differ, printed."""

from whence.cli.document import strict
from whence.play.engines import Apart


def show_apart(found: Apart, json: bool) -> None:
    """Print how far `Value`s and torch in float64 are apart."""
    losses, worst = found.losses, found.worst
    if json:
        record = {"schema": 1, "steps": len(losses), "losses": losses, "largest_difference": worst}
        print(strict(record))
        return
    print(
        f"{len(losses)} steps of {found.parameters:,} parameters on Values and on torch in float64"
    )
    print(f"  loss from {losses[0]:.6g} to {losses[-1]:.6g}")
    for what, difference in worst.items():
        print(f"  largest difference of a {what:<10} {difference:.3g}")
