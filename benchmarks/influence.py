"""What influence a prediction, judged by what would have been: first-order accounting, and replays.

`python -m benchmarks influence` trains small models, asks which windows moved a prediction, and
replays the run without some of them, one at a time: those that account for most, and others
drawn at random. Leaving window i out of a batch of B makes the others count B/(B − 1) times as
much, so the accounting predicts −c_i + Σ_{j≠i} c_j/(B − 1), if the later steps stayed as they were.
"""

import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import table
from whence.data import Part
from whence.data.batches import NOT_COUNTED
from whence.data.texts.sources import Source, text_source
from whence.models import GPTConfig, LSTMConfig, ModelConfig
from whence.runs.recipe import Data, Recipe, Record
from whence.runs.replay import start_from
from whence.runs.run import Run
from whence.scale.hardware import Hardware
from whence.train.optimizers import AdamWConfig, MuonConfig, OptimizerConfig, SGDConfig
from whence.why import Influence, influence
from whence.why.history.slopes import Question

TEXT = "".join(
    f"{i} {what} of {of} on the {where}.\n"
    for i in range(99, 9, -1)
    for what, of, where in (("bottles", "beer", "wall"), ("cups", "tea", "table"))
)
SOURCE = text_source("bottles and cups", lambda: [TEXT])


class Without:
    """Batches in which one window of one step isn't counted."""

    def __init__(self, batches: Any, step: int, example: int):
        self.batches, self.step, self.example = batches, step, example

    def __getitem__(self, step: int) -> list[tuple[float, Part]]:
        """Return the parts of a step's batch."""
        if step != self.step:
            return self.batches[step]
        [(weight, part)] = self.batches[step]
        targets = part.targets.clone()
        targets[self.example] = NOT_COUNTED
        return [(weight, part._replace(targets=targets))]


def replayed(run: Run, answer: Influence, step: int, example: int) -> float:
    """Replay the run without one window; return how much that changes ln P at the end."""
    moment = start_from(run, max(s for s in [0, *run.checkpoints] if s <= step))
    moment.leave_the_record(Without(moment.batches, step, example))
    for _ in moment.advance_to(answer.end):
        pass
    would_be, _ = Question(moment, answer.prompt, answer.next).ask()
    return would_be - answer.curve[-1]


def predicted(answer: Influence, step: int, example: int) -> float:
    """What the accounting says of leaving a window out."""
    batch = [window for window in answer.windows if window.step == step]
    own = next(window.value for window in batch if window.example == example)
    rest = sum(window.value for window in batch) - own
    return rest / (len(batch) - 1) - own


def chosen(answer: Influence, count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Some windows: a third that raised ln P most, a third that lowered it most, others."""
    third = count // 3
    some = answer.largest(third) + answer.smallest(third)
    others = [window for window in answer.windows if window not in some]
    some += random.Random(seed).sample(others, count - 2 * third)
    return [(window.step, window.example) for window in some]


def small(
    path: Path, model: ModelConfig, optimizer: OptimizerConfig, steps: int, source: Source = SOURCE
) -> Run:
    """Train a small run."""
    recipe = Recipe(
        data=Data(source=("bottles",)),
        model=model,
        optimizer=optimizer,
        hardware=Hardware(device="cpu", precision="fp32", threads=1),
        record=Record(evaluate_tokens=200, sample_tokens=0, checkpoint_every=20),
        batch_size=8,
        steps=steps,
    )
    run = Run.create(recipe, path, source)
    for _ in run.train():
        pass
    return Run.open(path)


def correlations(a: Iterable[float], b: Iterable[float]) -> tuple[float, float, float]:
    """Pearson's and Spearman's correlation, and the share of equal signs."""
    x, y = np.array(list(a)), np.array(list(b))
    ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
    return (
        float(np.corrcoef(x, y)[0, 1]),
        float(np.corrcoef(*ranks)[0, 1]),
        float((np.sign(x) == np.sign(y)).mean()),
    )


def judge(run: Run, prompt: str, next: str, count: int) -> dict[str, Any]:
    """Put the accounting beside replays."""
    answer = influence(run, prompt, next)
    windows = chosen(answer, count)
    ours = [predicted(answer, *window) for window in windows]
    true = [replayed(run, answer, *window) for window in windows]
    pearson, spearman, signs = correlations(ours, true)
    change = answer.curve[-1] - answer.curve[0]
    return {
        "steps": answer.end,
        "true change": f"{change:+.3f}",
        "accounted": f"{answer.accounted + answer.decay:+.3f}",
        "bent": f"{answer.bent:+.3f}",
        "rounded": f"{answer.rounded:+.4f}",
        "windows left out": len(windows),
        "Pearson": f"{pearson:.3f}",
        "Spearman": f"{spearman:.3f}",
        "same sign": f"{100 * signs:.0f} %",
    }


MODELS: dict[str, ModelConfig] = {
    "GPT": GPTConfig(n_layers=2, n_heads=2, d_model=32, context_length=32),
    "LSTM": LSTMConfig(n_layers=1, d_model=32, context_length=32),
}
OPTIMIZERS: dict[str, OptimizerConfig] = {
    "SGD": SGDConfig(learning_rate=0.3),
    "AdamW": AdamWConfig(learning_rate=1e-3),
    "Muon": MuonConfig(learning_rate=3e-3, embedding_rate=1e-2, head_rate=2e-3, other_rate=1e-3),
    "AdamW, fast": AdamWConfig(learning_rate=1e-2),
}


def main() -> None:
    rows = []
    for name, model in MODELS.items():
        for rule, optimizer in OPTIMIZERS.items():
            if name == "LSTM" and rule != "AdamW":
                continue
            for steps in (20, 100):
                with tempfile.TemporaryDirectory() as folder:
                    run = small(Path(folder) / "run", model, optimizer, steps)
                    found = judge(run, "50 bottles of ", "beer", 30 if steps < 50 else 18)
                    rows.append({"model": name, "optimizer": rule, **found})
    table(rows)


if __name__ == "__main__":
    main()
