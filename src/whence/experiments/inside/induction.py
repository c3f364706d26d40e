"""When does a Transformer learn to copy what followed last time (… A B … A → B)?"""

import math
from collections.abc import Sequence

import torch

from whence.experiments.common import SHARE, Example, Interval, Report, learn, mean_interval
from whence.models import GPTConfig, build
from whence.models.gpt.model import GPT
from whence.models.reads import reading

SIZE, SHORTEST, LONGEST = 24, 6, 12
WINDOW = 2 * LONGEST
CHECK = 25  # steps between two looks


def repeated(n: int, generator: torch.Generator) -> Example:
    """Different tokens in random order, 6 to 12 of them, again and again.

    Only what follows a token that came before can be known, and is counted. The period
    changes from row to row, so that it can't be known by counting back a fixed distance.
    """
    period = torch.randint(SHORTEST, LONGEST + 1, (n, 1), generator=generator)
    tokens = torch.rand(n, SIZE, generator=generator).argsort(1)  # [n, SIZE]
    places = torch.arange(WINDOW + 1)
    row = tokens.gather(1, places % period)
    targets = row[:, 1:].clone()
    targets[places[:-1] < period] = -100
    return Example(row[:, :-1], targets)


def shape(n_layers: int) -> GPTConfig:
    """A GPT for it."""
    return GPTConfig(
        n_layers=n_layers, n_heads=4, d_model=48, context_length=WINDOW, attention="formula"
    )


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def induction(seeds: Sequence[int] = range(3), steps: int = 800) -> Report:
    """Train GPTs of one and two layers on texts that repeat themselves, looking again and again.

    Args:
        seeds: one run of each depth for each.
        steps: of training.
    """
    curves: dict[int, list[list[float]]] = {1: [], 2: []}
    heads: list[float] = []
    for n_layers, runs in curves.items():
        for seed in seeds:
            torch.default_generator.manual_seed(seed)
            model = build(shape(n_layers), SIZE)
            test = repeated(200, torch.Generator().manual_seed(seed + 500))
            curve = [copied(model, test)]
            for step, _ in learn(model, lambda g: repeated(64, g), steps, seed=seed):
                if (step + 1) % CHECK == 0:
                    curve.append(copied(model, test))
            runs.append(curve)
            if n_layers == 2 and isinstance(model, GPT):
                heads.append(best_head(model, test))
    reached = {
        n: [next((i * CHECK for i, a in enumerate(c) if a > 0.5), None) for c in runs]
        for n, runs in curves.items()
    }
    shown = sorted({0, *(round(steps * k / 6 / CHECK) for k in range(1, 7))})
    rows = [
        (
            f"{n} layer{'s' if n > 1 else ''}",
            *(f"{mean_interval([c[i] for c in runs], SHARE).mean:.2f}" for i in shown),
        )
        for n, runs in curves.items()
    ]
    return Report(
        question="When does in-context copying (induction) appear during training?",
        setting=f"{SHORTEST} to {LONGEST} random tokens of {SIZE}, again and again; share of what "
        f"the context tells that is predicted right (chance: {1 / SIZE:.2f}), {len(seeds)} seeds",
        columns=("model", *(f"step {i * CHECK}" for i in shown)),
        rows=rows,
        answer=conclusion(reached, mean_interval(heads, SHARE), steps),
        data={"accuracy": {str(n): c for n, c in curves.items()}, "half_right_at": reached},
    )


def conclusion(reached: dict[int, list[int | None]], head: Interval, steps: int) -> str:
    """Say when copying appeared, and in which models.

    Args:
        reached: for models of one and of two layers, the step from which on each run copies more
            than half right; None: never.
        head: attention that the best head gives to the token to copy, in models of two layers.
        steps: of training.
    """
    n, two = len(reached[2]), [s for s in reached[2] if s is not None]
    one = sum(s is not None for s in reached[1])
    if not two:
        told = f"Undecided: two layers didn't learn to copy in {steps} steps, so when they would, "
        return told + f"and whether one layer can't (it does in {one} of {n}), is left open."
    told = "Two layers copy more than half of the tokens right from step "
    told += f"{min(two)}{f' to {max(two)}' if max(two) > min(two) else ''} on ({len(two)} of {n} "
    told += f"seeds); one layer does in {one} of {n}"
    if one >= len(two):
        told += ", no less often: a second layer isn't needed here. "
    elif by_chance(len(two), one, n) > 0.05:
        told += f", which {n} seeds can't tell from chance. "
    else:
        told += ": the second layer is what it takes. " if one == 0 else ". "
    told += "After training, the head of the second layer that looks most at the token after the "
    told += f"earlier occurrence gives it {head:.2f} of its attention. "
    if len(two) < n:
        return told + "Where copying wasn't learned, that head says nothing."
    return told + (
        "The texts it is asked about are new: it can only have read the answer in the context."
    )


def by_chance(more: int, less: int, n: int) -> float:
    """How likely a difference at least as large is, between two groups of n that don't differ.

    Example:
        >>> by_chance(3, 0, 3), by_chance(2, 0, 2)  # 1 of 20, 1 of 6
        (0.05, 0.16666666666666666)

    Source:
        Fisher, "Statistical Methods for Research Workers", 1934.
    """
    both = more + less
    ways = sum(math.comb(n, k) * math.comb(n, both - k) for k in range(more, min(n, both) + 1))
    return ways / math.comb(2 * n, both)


def copied(model: torch.nn.Module, test: Example) -> float:
    """The share of what the context tells that the model predicts right."""
    with torch.inference_mode():
        right = model(test.inputs).argmax(-1) == test.targets
    return (right.sum() / (test.targets >= 0).sum()).item()


def best_head(model: GPT, test: Example) -> float:
    """The largest mean attention of a last-layer head to the token after the one seen before."""
    with torch.inference_mode(), reading(model) as found:
        model(test.inputs)
    weights = [*found.values()][-1]  # [B, H, T, S]
    same = test.inputs[:, :, None] == test.inputs[:, None, :]  # [B, T, S]
    follows = same.roll(1, dims=2)  # the key's token comes after one equal to the query's
    follows[:, :, 0] = False
    looked = (weights * follows.unsqueeze(1)).sum(-1).transpose(1, 2)  # [B, T, H]
    return looked[test.targets >= 0].mean(0).max().item()
