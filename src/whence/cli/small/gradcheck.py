"""`whence gradcheck`: backpropagation against finite differences, for any parameter."""

from collections.abc import Callable

import tyro

from whence.cli.document import strict
from whence.cli.terminal import Console
from whence.errors import WhenceError
from whence.play.subjects import chosen, subject_of
from whence.scalar.gradcheck import check_gradient


def gradcheck(
    model: tyro.conf.Positional[str] = "net",
    *,
    parameter: str | None = None,
    count: int = 10,
    step: float = 1e-5,
    seed: int = 0,
    json: bool = False,
) -> None:
    """Change a parameter a little, watch the loss, and compare with backpropagation.

    Args:
        model: line, net, mlp (four layers, tanh, on tensors), spam, or the folder of a run.
        parameter: which one, for example w1, change, or blocks.0.attn.qkv.weight[3,7]; without an
            index the one whose gradient is largest.
        count: how many parameters to draw if none is named.
        step: how far to change it, to either side.
        seed: which parameters are drawn.
        json: print one JSON object.
    """
    if not step > 0 or count < 1:
        raise WhenceError("A check needs a step above 0 and one parameter or more.")
    subject = subject_of(model)
    names = chosen(subject, parameter, count, seed)
    console = Console(soft_wrap=True)
    say: Callable[[str], None] = (lambda text: None) if json else console.print
    width = max(map(len, names))
    say(f"{'':<{width}}{'backpropagation':>22}{'difference':>22}{'relative error':>17}")
    records = []
    for name in names:
        entry, index = subject.parameters[name]
        check = check_gradient(subject.loss, entry, index, step=step, address=name)
        verdict = "" if check.agrees else "   hidden" if check.undecided else "   differ"
        say(
            f"{name:<{width}}{check.backward:>22.12g}{check.difference:>22.12g}"
            f"{check.error:>17.2e}{verdict}"
        )
        told = {"agrees": check.agrees, "undecided": check.undecided}
        records.append({**check._asdict(), **told})
    bad = [r["address"] for r in records if not (r["agrees"] or r["undecided"])]
    hidden = [r["address"] for r in records if r["undecided"]]
    if json:
        print(strict({"schema": 1, "step": step, "checks": records}))
    elif bad:
        say(f"{len(bad)} of {len(records)} differ: a kink within the step, or a wrong gradient")
    elif hidden:
        say(
            f"{len(records) - len(hidden)} agree, {len(hidden)} can't be decided: rounding of the "
            "loss hides one this small; try a larger --step"
        )
    else:
        say(f"all {len(records)} agree")
