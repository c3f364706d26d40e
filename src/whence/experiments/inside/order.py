"""Does word order matter to a model without positions?"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from whence.experiments.common import (
    SHARE,
    Example,
    Interval,
    Report,
    accuracy,
    learn,
    mean_interval,
)
from whence.models.seq2seq.config import ClassifierConfig
from whence.models.seq2seq.encoder import Classifier
from whence.train.optimizers import AdamWConfig

NAMES = 24  # animals that can bite and be bitten
BITES, FILLERS = NAMES, 4
LENGTH = 7
VARIANTS = {
    "reads both ways, no positions": {"positions": "none", "causal": False},
    "reads both ways, sinusoidal positions": {"positions": "sinusoidal", "causal": False},
    "reads back only, no positions": {"positions": "none", "causal": True},
}


def sentences(n: int, generator: torch.Generator, held_out: bool) -> Example:
    """Sentences such as "… man bites … dog": the class says whether the lower number bites.

    Pairs of animals whose numbers add up to a multiple of 5 are held out.
    """
    a = torch.randint(NAMES, (n,), generator=generator)
    b = (a + torch.randint(1, NAMES, (n,), generator=generator)) % NAMES
    is_held = (a + b) % 5 == 0
    b = torch.where(is_held == held_out, b, _partner(a, b, held_out))
    words = NAMES + 1 + torch.randint(FILLERS, (n, LENGTH), generator=generator)
    # Three places in order, drawn without repetition: biter, "bites", bitten.
    places = torch.rand(n, LENGTH, generator=generator).argsort(1)[:, :3].sort(1).values
    words.scatter_(1, places, torch.stack((a, torch.full_like(a, BITES), b), 1))
    return Example(words, (a < b).long())


def training(generator: torch.Generator) -> Example:
    """A batch to learn from."""
    return sentences(64, generator, held_out=False)


def _partner(a: torch.Tensor, b: torch.Tensor, held_out: bool) -> torch.Tensor:
    """The next number after b that makes the pair held out or not, and isn't a itself."""
    for _ in range(2 * NAMES):
        wrong = (((a + b) % 5 == 0) != held_out) | (a == b)
        b = torch.where(wrong, (b + 1) % NAMES, b)
    return b


SMALL = ClassifierConfig(
    n_layers=1, n_heads=2, d_model=32, dropout=0.0, norm_first=True, classes=("first", "second")
)


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def order(seeds: Sequence[int] = range(5), steps: int = 200) -> Report:
    """Train three small encoders to say who bites whom.

    Args:
        seeds: one run of each variant for each.
        steps: of training.
    """
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for seed in seeds:
        test = sentences(2000, torch.Generator().manual_seed(99 + seed), held_out=True)
        for name, options in VARIANTS.items():
            torch.default_generator.manual_seed(seed)
            config = replace(SMALL, **options)
            model = Classifier(config, NAMES + 1 + FILLERS)
            rate = AdamWConfig(learning_rate=0.01)
            for _ in learn(model, training, steps, seed=seed, optimizer=rate):
                pass
            found[name].append(accuracy(model, test))
    intervals = {name: mean_interval(values, SHARE) for name, values in found.items()}
    blind, told, back = intervals.values()
    return Report(
        question="Does word order matter when positions are taken away?",
        setting=f"one-layer encoders that say who bites whom (chance: 0.5), {steps} steps, "
        f"{len(seeds)} seeds, pairs of animals that training never had",
        columns=("model", "accuracy [95 % interval]"),
        rows=[(name, f"{interval:.3f}") for name, interval in intervals.items()],
        answer=conclusion(blind, told, back, steps),
        data=found,
    )


CHANCE, LEARNED = 0.5, 0.75


def conclusion(blind: Interval, told: Interval, back: Interval, steps: int) -> str:
    """Say what the three readers know of order.

    Args:
        blind: accuracy of the one without positions that reads both ways.
        told: of the one with positions.
        back: of the one without positions that reads back only.
        steps: of training.
    """
    if told.mean < LEARNED or not (told > CHANCE):
        return (
            f"Undecided: with positions the encoder gets {told:.2f}, so in {steps} steps "
            "it hasn't learned the task for certain, and what the others can't do says nothing. "
            "Give more --steps or --seeds."
        )
    said = f"With positions an encoder gets {told.mean:.2f}. Without them one that reads both ways "
    said += f"sees a bag of words: {blind.mean:.2f}, "
    if blind > CHANCE:
        said += "which is better than chance: the sentences themselves tell something of the order."
    elif blind.low <= CHANCE <= blind.high and blind.high < LEARNED:
        said += "which is chance."
    else:
        said += "which these runs can't tell from chance, nor from more."
    if back > CHANCE:
        return said + (
            " A mask that lets a token read only those before it tells order by itself: "
            f"{back.mean:.2f} without any positions."
        )
    return said + (
        f" Whether a mask that only lets a token read back tells order, is undecided: {back:.2f}."
    )
