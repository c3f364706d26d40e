"""`whence classify images`: handwritten digits, and what put the wrong class above the true one."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from whence.cli.small.classifying.confusion import say_confusion
from whence.play.digits import Digits, Measured, learn_digits, make_model


def images(
    hidden: tuple[int, ...], steps: int, rate: float, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train on the digits and report on a quarter held out."""
    data, model = Digits(seed), make_model(hidden, seed)
    n, cut = sum(p.numel() for p in model.parameters()), data.cut
    say(f"{len(data.y) - cut} images to learn from, {cut} held out, 10 classes, {n:,} parameters")

    def tell(m: Measured) -> None:
        say(f"after {m.step:>5} steps  loss {m.learned:.4f}  held out {m.held_out:.4f}")

    found = learn_digits(model, data, steps, rate, tell)
    say(f"\nheld out: {found.right} of {cut} right ({100 * found.right / cut:.1f} %)")
    say_confusion(found.table, [str(k) for k in range(10)], say)
    say("\nthe most confident mistakes" if found.n_mistakes else "\nno mistakes")
    for mistake in found.mistakes:
        p = mistake.probability
        say(f"\n{mistake.said} with probability {p:.3f}, in truth {mistake.label}")
        for row in [*_picture(mistake.pixels), *mistake.receipt.lines(6)]:
            say(f"  {row}")
    return {
        "losses": found.losses,
        "held_out": cut,
        "right": found.right,
        "confusion": found.table,
        "mistakes": [
            {
                "said": m.said,
                "label": m.label,
                "probability": m.probability,
                "receipt": m.receipt.to_dict(),
            }
            for m in found.mistakes
        ],
    }


def _picture(pixels: Tensor) -> list[str]:
    shades = " ·:+*#%@"
    return [
        "".join(shades[min(7, int(7.99 * p))] * 2 for p in row)
        for row in pixels.reshape(8, 8).tolist()
    ]
