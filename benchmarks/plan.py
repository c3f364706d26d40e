"""What a plan says of memory and time against what a process of its own then takes.

`python -m benchmarks plan`: 42 recipes, each planned in one process and trained for twenty steps in
another, whose greatest memory the kernel tells. `--few` takes every seventh.
"""

import json
import statistics
import subprocess
import sys

PROGRAM = """
import json, resource, statistics, sys, tempfile, time
from pathlib import Path
from whence.scale.process import tune_process
tune_process()
from whence.data import open_source, prepare
from whence.runs.planning import plan_run
from whence.runs.recipe import Recipe, usual
from whence.runs.training.creation import resolve
from whence.runs.training.session import assemble
from whence.scale.limits import peak_memory
what, kind, changes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
source = open_source({"seq2seq": "dates"}.get(kind, "topics"))
recipe = Recipe.from_dict(changes, usual(Recipe(), kind))
if what == "plan":
    told = plan_run(recipe, source)
    print(json.dumps([told.memory, told.seconds]))
else:
    recipe = resolve(recipe, source)
    data = recipe.data
    folder = Path(tempfile.mkdtemp())
    dataset = prepare(source, data.tokenizer, data.vocab_size, data.validation, folder)
    session, times, clock = assemble(recipe, dataset), [], time.perf_counter()
    for step, _ in session.learn(range(20)):
        now = time.perf_counter()
        times.append(now - clock)
        clock = now
    # Not getrusage's: on Linux that begins with what the process that started this one had.
    peak = peak_memory() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([peak, statistics.median(times[2:])]))
"""


def recipes() -> list[tuple[str, dict]]:
    """Kinds, sizes, precisions, parts of a batch and optimizers."""
    found: list[tuple[str, dict]] = []
    for kind in ("gpt", "gpt2", "llama", "qwen3"):
        for layers, width, window, batch in ((2, 128, 64, 12), (4, 192, 256, 8), (6, 384, 256, 8)):
            for precision in ("fp32", "bf16"):
                model = {"n_layers": layers, "d_model": width, "context_length": window}
                shape = {"model": model, "batch_size": batch, "hardware": {"precision": precision}}
                found.append((kind, shape))
    for kind in ("bigram", "mlp", "rnn", "lstm", "gru", "ngram-gpt", "seq2seq"):
        found += [(kind, {}), (kind, {"batch_size": 64})]
    for optimizer in ("sgd", "adamw"):
        found.append(("gpt", {"optimizer": {"kind": optimizer}}))
    return [*found, *(("gpt", {"accumulate": n}) for n in (2, 8))]


def run(few: bool = False) -> None:
    """Print a line for each recipe as it is done: predicted, measured; and the errors of all."""
    errors: dict[str, list[float]] = {"memory": [], "time": []}
    print("  MB told       MB     off    ms told       ms     off  recipe")
    for kind, changes in recipes()[:: 7 if few else 1]:
        told, took = (_asked(what, kind, changes) for what in ("plan", "train"))
        memory, seconds = (a / b - 1 for a, b in zip(told, took, strict=True))
        errors["memory"].append(abs(memory))
        errors["time"].append(abs(seconds))
        print(
            f"{told[0] / 1e6:9.0f} {took[0] / 1e6:8.0f} {memory:+7.1%} "
            f"{1e3 * told[1]:10.1f} {1e3 * took[1]:8.1f} {seconds:+7.1%}  {kind} "
            f"{json.dumps(changes)}",
            flush=True,
        )
    for name, of in (("median", statistics.median), ("worst", max)):
        told = {what: of(some) for what, some in errors.items()}
        print(
            f"{name} error of {len(errors['time'])}: memory {told['memory']:.1%}, "
            f"time {told['time']:.1%}"
        )


def _asked(what: str, kind: str, changes: dict) -> list[float]:
    words = [sys.executable, "-c", PROGRAM, what, kind, json.dumps(changes)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table, line by line."""
    run("--few" in sys.argv)


if __name__ == "__main__":
    main()
