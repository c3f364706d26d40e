"""What does the training text do to the model? Two texts, two models, the same prompts."""

from collections.abc import Sequence

import torch

from whence.experiments.common import SHARE, Example, Report, learn, mean_interval
from whence.models import GPTConfig, build
from whence.train.optimizers import AdamWConfig

JOBS = ["doctor", "nurse", "pilot", "farmer"]
VERBS = ["said", "thought", "knew", "hoped"]
WORDS = ["the", *JOBS, *VERBS, "that", "he", "she", "was", "late", "."]
# Share of "she" after each job in the two texts.
TEXTS = {
    "text A": {"doctor": 0.1, "nurse": 0.9, "pilot": 0.2, "farmer": 0.5},
    "text B": {"doctor": 0.9, "nurse": 0.1, "pilot": 0.2, "farmer": 0.5},
}


def sentences(n: int, shares: dict[str, float], generator: torch.Generator) -> Example:
    """Sentences "the JOB VERB that he/she was late ." with a text's shares of "she"."""
    ids = {word: i for i, word in enumerate(WORDS)}
    job = torch.randint(len(JOBS), (n,), generator=generator)
    verb = torch.randint(len(VERBS), (n,), generator=generator)
    share = torch.tensor([shares[name] for name in JOBS])[job]
    she = torch.rand(n, generator=generator) < share
    frame = ["the", "doctor", "said", "that", "he", "was", "late", "."]
    rows = torch.tensor([[ids[word] for word in frame]] * n)
    rows[:, 1] = ids[JOBS[0]] + job
    rows[:, 2] = ids[VERBS[0]] + verb
    rows[:, 4] = torch.where(she, ids["she"], ids["he"])
    return Example(rows[:, :-1], rows[:, 1:])


@torch.random.fork_rng(devices=[])  # the caller's numbers stay
def texts(seeds: Sequence[int] = range(3), steps: int = 200) -> Report:
    """Train the same GPT on two texts that differ in one habit, and ask both the same.

    Args:
        seeds: one run on each text for each.
        steps: of training.
    """
    ids = {word: i for i, word in enumerate(WORDS)}
    prompts = torch.tensor([[ids[w] for w in f"the {job} said that".split()] for job in JOBS])
    found: dict[str, list[list[float]]] = {name: [] for name in TEXTS}
    config = GPTConfig(n_layers=1, n_heads=2, d_model=24, context_length=8)
    for name, shares in TEXTS.items():
        for seed in seeds:
            torch.default_generator.manual_seed(seed)
            model = build(config, len(WORDS))

            def draw(g: torch.Generator, shares=shares) -> Example:
                return sentences(128, shares, g)

            for _ in learn(
                model, draw, steps, seed=seed, optimizer=AdamWConfig(learning_rate=0.01)
            ):
                pass
            with torch.inference_mode():
                p = model(prompts)[:, -1].softmax(-1)[:, ids["she"]]
            found[name].append(p.tolist())
    rows = []
    errors = []
    for j, job in enumerate(JOBS):
        row = [f"the {job} said that …"]
        for name, shares in TEXTS.items():
            interval = mean_interval([run[j] for run in found[name]], SHARE)
            errors.append(abs(interval.mean - shares[job]))
            row += [f"{shares[job]:.2f}", f"{interval:.2f}"]
        rows.append(tuple(row))
    return Report(
        question="What does the training text do to the model?",
        setting=f"the same one-layer GPT, the same first weights, two texts that differ only in "
        f"how often 'she' follows a job; {len(seeds)} seeds; P(she) after the prompt",
        columns=("prompt", "in text A", "model of A", "in text B", "model of B"),
        rows=rows,
        answer=conclusion(max(errors), steps),
        data=found,
    )


CLOSE = 0.1  # of a probability


def conclusion(worst: float, steps: int) -> str:
    """Say whether the models adopted their texts' habits.

    Args:
        worst: the largest difference between a model's share of "she" and its text's.
        steps: of training.
    """
    if worst < CLOSE:
        return (
            f"Each model says 'she' as often as its text does, to within {worst:.2f}: it fits the "
            "distribution of its text, habits and prejudices included. Nothing in the model itself "
            "prefers either answer; that is a bias of the data, not the model's."
        )
    return (
        f"Undecided: after {steps} steps a model still says 'she' {worst:.2f} more or less often "
        "than its text, so it hasn't learned its habits yet. Give more --steps."
    )
