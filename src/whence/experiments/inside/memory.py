"""How far back does each kind of model remember?"""

from collections.abc import Sequence

import torch

from whence.experiments.common import SHARE, Example, Report, accuracy, apart, learn, mean_interval
from whence.models import GPTConfig, GRUConfig, LSTMConfig, MLPConfig, ModelConfig, RNNConfig, build

LETTERS, NOISE = 8, 8
ASK = LETTERS + NOISE
GAPS = (1, 3, 7, 15, 31)
WINDOW = max(GAPS) + 2
KINDS: dict[str, ModelConfig] = {
    "mlp, 8 back": MLPConfig(n_previous=8, d_model=16, d_ff=64, context_length=WINDOW),
    "rnn": RNNConfig(d_model=48, context_length=WINDOW),
    "lstm": LSTMConfig(d_model=48, context_length=WINDOW),
    "gru": GRUConfig(d_model=48, context_length=WINDOW),
    "gpt": GPTConfig(n_layers=2, n_heads=2, d_model=48, context_length=WINDOW),
}


def recall(n: int, gap: int, generator: torch.Generator) -> Example:
    """A letter, `gap` tokens of noise, a question mark: the answer is the letter."""
    letter = torch.randint(LETTERS, (n, 1), generator=generator)
    noise = LETTERS + torch.randint(NOISE, (n, gap), generator=generator)
    inputs = torch.cat((letter, noise, torch.full((n, 1), ASK)), 1)
    targets = torch.full_like(inputs, -100)
    targets[:, -1] = letter[:, 0]
    return Example(inputs, targets)


NEAR = (1, 3)  # the gaps that are trained on
LEARNED = 0.95  # share of right answers at which training ends
CHECK = 25  # steps between two looks


def near(generator: torch.Generator) -> Example:
    """A batch whose gap is one of `NEAR`."""
    return recall(64, NEAR[int(torch.randint(len(NEAR), (1,), generator=generator))], generator)


def learn_near(model: torch.nn.Module, steps: int, seed: int = 0) -> int | None:
    """Train a model on near letters until it names them; the step at which it did, or None."""
    test = recall(500, NEAR[-1], torch.Generator().manual_seed(2000 + seed))
    for step, _ in learn(model, near, steps, seed=seed):
        if (step + 1) % CHECK == 0 and accuracy(model, test) >= LEARNED:
            return step + 1
    return None


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def memory(seeds: Sequence[int] = range(10), steps: int = 1500) -> Report:
    """Train each kind to recall a letter from near, and ask for it from ever further back.

    Args:
        seeds: one run of each kind for each.
        steps: of training, at most; it ends when the near letters are learned.
    """
    found: dict[str, dict[int, list[float]]] = {k: {g: [] for g in GAPS} for k in KINDS}
    learned: dict[str, list[int | None]] = {kind: [] for kind in KINDS}
    for seed in seeds:
        for kind, config in KINDS.items():
            torch.default_generator.manual_seed(seed)
            model = build(config, ASK + 1)
            learned[kind].append(learn_near(model, steps, seed))
            for gap in GAPS:
                test = recall(500, gap, torch.Generator().manual_seed(1000 + seed))
                found[kind][gap].append(accuracy(model, test))
    fading = {kind: fade(config) for kind, config in KINDS.items()}
    faded = ", ".join(f"{kind} {value:.2g}" for kind, value in fading.items())
    return Report(
        question="How far back does each kind of model remember?",
        setting=f"a letter, noise, a question (chance: {1 / LETTERS:.3f}); trained on letters "
        f"{' and '.join(str(gap + 1) for gap in NEAR)} back until {LEARNED:.0%} are right, at most "
        f"{steps} steps, {len(seeds)} seeds",
        columns=(
            "model",
            "learned at",
            *(f"{gap + 1} back" for gap in GAPS),
            "gradient left before training",
        ),
        rows=[
            (
                kind,
                _at(learned[kind]),
                *(f"{mean_interval(by_gap[gap], SHARE):.2f}" for gap in GAPS),
                f"{fading[kind]:.2g}",
            )
            for kind, by_gap in found.items()
        ],
        answer=" ".join(
            conclusion(kind, learned[kind], by_gap[NEAR[-1]], by_gap[GAPS[-1]], steps)
            for kind, by_gap in found.items()
        )
        + f" Before training, the gradient that reaches a letter {GAPS[-1] + 1} tokens back is "
        f"this share of the one that reaches 2 back: {faded}.",
        data={
            "accuracy": {k: {str(g): v for g, v in gaps.items()} for k, gaps in found.items()},
            "learned_at": learned,
            "gradient_left": fading,
        },
    )


def conclusion(
    kind: str,
    learned: Sequence[int | None],
    close: Sequence[float],
    far: Sequence[float],
    steps: int,
) -> str:
    """Say whether a kind of model keeps what it has learned to name from near.

    Args:
        kind: its name.
        learned: for each run the step at which the near letters were learned; None: never.
        close: accuracy at the furthest distance that was trained on, run by run.
        far: accuracy at the furthest distance.
        steps: the most there were.
    """
    missing = sum(step is None for step in learned)
    name = f"{kind}:"
    if missing:
        return (
            f"{name} undecided, {missing} of {len(learned)} runs didn't learn the near letters in "
            f"{steps} steps, so what they miss from far isn't forgotten."
        )
    lost, last = apart(close, far), mean_interval(far, SHARE)
    furthest = f"{GAPS[-1] + 1} back it names {last:.2f}"
    if lost > 0 and last.low <= 1 / LETTERS <= last.high:
        return f"{name} forgets, {furthest}, which is chance."
    if lost > 0:
        return f"{name} fades, {furthest}."
    if last > KEPT:
        return f"{name} keeps it, {furthest}."
    return f"{name} undecided, {furthest}, and the runs differ too much to say that it fades."


KEPT = 0.9


def _at(learned: Sequence[int | None]) -> str:
    steps = [step for step in learned if step is not None]
    if not steps:
        return "never"
    missing = f", {len(learned) - len(steps)} never" if len(steps) < len(learned) else ""
    return f"{min(steps)}–{max(steps)}{missing}" if len(set(steps)) > 1 else f"{steps[0]}{missing}"


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def fade(config: ModelConfig) -> float:
    """How much smaller the gradient at the letter is far back than near, at the first weights."""
    torch.default_generator.manual_seed(0)
    model = build(config, ASK + 1)
    torch.nn.init.normal_(model.get_submodule("head").get_parameter("weight"))
    norms = []
    for gap in (GAPS[-1], GAPS[0]):
        example = recall(64, gap, torch.Generator().manual_seed(0))
        vectors: list[torch.Tensor] = []
        hook = model.get_submodule("embed").register_forward_hook(
            lambda _module, _inputs, output, kept=vectors: kept.append(output)
        )
        logits = model(example.inputs)[:, -1]
        hook.remove()
        score = logits.gather(1, example.targets[:, -1:]).sum()
        (gradient,) = torch.autograd.grad(score, vectors[0])
        # An MLP looks its window up at each place; the last place is the one that answers.
        at_letter = gradient[:, 0] if gradient.dim() == 3 else gradient[:, -1, -2 - gap :][:, :1]
        seen = gradient.dim() == 3 or gap + 2 <= gradient.shape[2]
        norms.append(at_letter.norm().item() if seen else 0.0)
    return norms[0] / norms[1]
