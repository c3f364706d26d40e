"""A GPT on counted n-grams: the loss on tiny Shakespeare, and the seconds of training it takes.

Characters, the first nine tenths to count and train, the last tenth to measure, whole, in windows
that overlap by half. Beside it: the counts alone, and the plain GPT of the same shape and steps.

    python -m benchmarks prior
"""

import tempfile
import time
from pathlib import Path

from whence.models import MODELS, modern_config
from whence.runs.recipe import Recipe, Record
from whence.runs.run import Run

SHARED = [folder / "shared" / "data" for folder in Path(__file__).parents]
STEPS, BATCH = 200, 32


def main() -> None:
    """Train each and print its loss, and the seconds of its steps."""
    text = next(f for f in SHARED if (f / "tinyshakespeare.txt").is_file()) / "tinyshakespeare.txt"
    shape = {"n_layers": 1, "n_heads": 4, "d_model": 128, "context_length": 64}
    quiet = Record(evaluate_every=10**6, sample_every=10**6, sample_tokens=0)
    recipes = {
        "7-gram, counted": Recipe(model=MODELS["ngram"], steps=1, record=quiet),
        "gpt alone": Recipe(
            model=modern_config(**shape), steps=STEPS, batch_size=BATCH, record=quiet
        ),
        "gpt on the 7-gram": Recipe(
            model=MODELS["ngram-gpt"], steps=STEPS, batch_size=BATCH, record=quiet
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in recipes.items():
            recipe = Recipe.from_dict({"data": {"source": [str(text)]}}, recipe)
            if name == "7-gram, counted":
                recipe = Recipe.from_dict({"model": {"order": 7}}, recipe)
            run = Run.create(recipe, Path(folder) / name.replace(" ", "-"))
            began = time.perf_counter()
            steps = sum(e.seconds for e in run.train() if hasattr(e, "seconds"))
            whole = time.perf_counter() - began
            loss = run.evaluate(overlap=True).loss
            print(
                f"{name:<20}{loss:8.4f} nats/char {steps:8.2f} s in steps {whole:8.2f} s in all",
                flush=True,
            )


if __name__ == "__main__":
    main()
