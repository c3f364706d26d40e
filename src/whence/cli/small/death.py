"""How a hidden unit of `whence net` died, in words."""

from collections.abc import Callable

from whence.play.deaths import Death, Outcome, row_of


def tell(death: Death, rate: float, say: Callable[[str], None]) -> None:
    """Say when a unit died, and open what did it."""
    name = death.receipt.address
    say(
        f"\nunit {death.unit} of hidden layer {death.layer} died at sample {death.sample} of epoch "
        f"{death.epoch}: after that update its pre-activation {name} is below 0 for every sample, "
        "so relu lets nothing through, its gradients are 0, and "
        + (
            "its weights never move again."
            if death.layer == 1
            else "its weights stay until what it reads opens it again."
        )
    )
    for line in death.receipt.lines():
        say(f"  {line}")
    say(
        f"  the largest part of it is one update, {death.moved}: rate {rate:g} · gradient "
        f"{death.gradient.value:.6g}, which is arriving gradient · local slope = "
        f"{' + '.join(term.detail for term in death.gradient.terms[:4])}; {death.overshot}"
    )


def told_of(again: Outcome, rate: float, epochs: int, better: bool) -> str:
    """Say what a rerun came to."""
    alive = "no unit dies" if not again.deaths else "a unit still dies"
    found = (
        f"{alive}, the last epoch's loss is {again.epochs[-1]:.3g}, predictions "
        f"{row_of(again.predictions)}"
    )
    if better:
        return f"rerun with rate {rate:g}, {epochs} epochs, nothing else changed: {found}"
    return (
        f"no smaller rate is a cure here; the best, {rate:g} over {epochs} epochs: {found}. "
        "Try other first weights (--seed), more units (--hidden) or --activation tanh."
    )
