"""`whence play`: a small model at any step of its training, the same as the studio shows."""

from typing import Annotated, Literal

import tyro

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.cli.words import RateOrNone
from whence.play import at
from whence.play.opened import Opened


def play(
    data: tyro.conf.Positional[
        Literal[
            "coffee",
            "one",
            "three",
            "two-features",
            "moons",
            "circles",
            "xor",
            "spiral",
            "gaussians",
        ]
    ] = "three",
    *,
    step: int = 0,
    hidden: tuple[int, ...] | None = None,
    activation: Literal["relu", "tanh", "sigmoid"] | None = None,
    optimizer: Literal["sgd", "momentum", "adam"] | None = None,
    learning_rate: RateOrNone = None,
    batch: int | None = None,
    noise: float | None = None,
    samples: int | None = None,
    features: tuple[str, ...] | None = None,
    seed: int | None = None,
    edits: tuple[str, ...] = (),
    open: str = "",
    json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Show a small model after some steps, and the arithmetic of the step that comes next.

    Args:
        data: what is learned: a line, a network worked by hand, or points in the plane.
        step: how many updates are done.
        hidden: units of each hidden layer.
        activation: what they apply.
        optimizer: what moves the weights.
        learning_rate: of its optimizer.
        batch: samples of one update; 0 for all.
        noise: of the points.
        samples: how many points; a quarter of them is held out.
        features: what is read from a point: x1 x2 x1² x2² x1·x2 "sin πx1" "sin πx2".
        seed: of points, starting weights and order.
        edits: weights set on the way, as 3:w1=0.5 (from step 3 on, w1 is 0.5).
        open: only print the receipts of this number, such as w1.
        json: print one JSON object.
    """
    now = at(
        step,
        data,
        edits=edits,
        hidden=hidden,
        activation=activation,
        optimizer=optimizer,
        rate=learning_rate,
        batch=batch,
        noise=noise,
        samples=samples,
        features=features,
        seed=seed,
    )
    opened = Opened(now)
    receipts = opened.receipts(open) if open else []
    parameters = {p.label or "": p.data for p in now.parameters}
    if json:
        record = {
            "schema": 1,
            "step": now.step,
            "losses": now.losses,
            "epochs": now.means,
            "held": now.held,
            "parameters": parameters,
            "dead": [d.why for d in now.dead.values()],
            "receipts": [r.to_dict() for r in receipts],
        }
        print(strict(record))
        return
    console = Console(soft_wrap=True)
    if receipts:
        for receipt in receipts:
            console.print(str(receipt))
        return
    epochs = now.means[-5:]
    console.print(f"{data}, {len(parameters)} parameters, step {now.step:,}, loss {now.formula}")
    for i, loss in enumerate(epochs, start=len(now.means) - len(epochs) + 1):
        held = f"   held out {now.held[i - 1]:.5f}" if now.held else ""
        console.print(f"  epoch {i:>4}  loss {loss:.5f}{held}")
    if len(parameters) <= 12:
        console.print("  " + "  ".join(f"{name} = {x:.6g}" for name, x in parameters.items()))
    for death in now.dead.values():
        console.print(f"  {death.why}")
    console.print(f"step {now.step + 1:,}, the first sample of its batch:")
    for operation in opened.operations[:40]:
        console.print(f"  {opened.line(operation)}")
    rest = len(opened.operations) - 40
    if rest > 0:
        console.print(f"  … and {rest} more; --open w1[1,1] shows one of them")
