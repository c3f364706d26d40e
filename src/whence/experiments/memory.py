"""How far back does each kind of model remember?"""

from collections.abc import Sequence

import torch

from whence.experiments.common import Example, Report, accuracy, learn, mean_interval
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


def mixed(generator: torch.Generator) -> Example:
    """A batch whose gap is one of `GAPS`."""
    gap = GAPS[int(torch.randint(len(GAPS), (1,), generator=generator))]
    return recall(64, gap, generator)


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def memory(seeds: Sequence[int] = range(3), steps: int = 400) -> Report:
    """Train each kind to recall a letter after noise, and measure it for each distance.

    Args:
        seeds: one run of each kind for each.
        steps: of training.
    """
    found: dict[str, dict[int, list[float]]] = {k: {g: [] for g in GAPS} for k in KINDS}
    for seed in seeds:
        for kind, config in KINDS.items():
            torch.default_generator.manual_seed(seed)
            model = build(config, ASK + 1)
            for _ in learn(model, mixed, steps, seed=seed):
                pass
            for gap in GAPS:
                test = recall(500, gap, torch.Generator().manual_seed(1000 + seed))
                found[kind][gap].append(accuracy(model, test))
    intervals = {
        kind: {gap: mean_interval(values, shares=True) for gap, values in by_gap.items()}
        for kind, by_gap in found.items()
    }
    reach = {
        kind: max((g for g in GAPS if by_gap[g].mean > 0.9), default=None)
        for kind, by_gap in intervals.items()
    }
    told = "; ".join(
        f"{kind} recalls a letter {gap + 1} tokens back" if gap else f"{kind} recalls none reliably"
        for kind, gap in reach.items()
    )
    fading = {kind: fade(config) for kind, config in KINDS.items()}
    faded = ", ".join(f"{kind} {value:.2g}" for kind, value in fading.items())
    return Report(
        question="How far back does each kind of model remember?",
        setting=f"a letter, noise, a question (chance: {1 / LETTERS:.3f}), {steps} steps on all "
        f"distances mixed, {len(seeds)} seeds",
        columns=("model", *(f"{gap + 1} back" for gap in GAPS), "gradient left before training"),
        rows=[
            (kind, *(f"{by_gap[gap]:.2f}" for gap in GAPS), f"{fading[kind]:.2g}")
            for kind, by_gap in intervals.items()
        ],
        answer=f"In more than 9 of 10 cases: {told}. Before training, the gradient that reaches a "
        f"letter {GAPS[-1] + 1} tokens back is this share of the one that reaches 2 back: {faded}. "
        "An MLP sees nothing beyond its window; in a recurrent model each token between makes the "
        "gradient smaller, and training must bring it back; attention reaches every token in one "
        "step.",
        data={
            "accuracy": {k: {str(g): v for g, v in gaps.items()} for k, gaps in found.items()},
            "gradient_left": fading,
        },
    )


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
