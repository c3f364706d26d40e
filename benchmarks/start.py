"""What a person waits for: commands that compute nothing, and a model's first token.

Run with `python -m benchmarks.start`. Each is a process of its own; `import torch` alone stands
beside them, as none can be faster that needs it.
"""

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.timing import interleaved, table
from whence import Data, GPTConfig, Recipe, Record, Run
from whence.data import text_source

COMMAND = "import sys; from whence.cli import main; sys.exit(main(sys.argv[1:]))"


def process(program: str, *words: str) -> None:
    """Run a program in a process of its own, to its end."""
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def trained(folder: Path) -> Path:
    """A run of a step, which can write."""
    recipe = Recipe(
        data=Data(("letters",)),
        model=GPTConfig(n_layers=1, n_heads=1, d_model=16, context_length=16),
        record=Record(sample_tokens=0),
        batch_size=2,
        steps=1,
    )
    run = Run.create(recipe, folder / "run", text_source("letters", lambda: ["abcdefgh" * 99]))
    for _ in run.train():
        pass
    return run.path


def run(rounds: int = 9) -> list[dict]:
    """Wall seconds of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = str(trained(folder))
        contestants = {
            "python": partial(process, "pass"),
            "from whence import Run": partial(process, "from whence import Run"),
            "whence --help": partial(process, COMMAND, "--help"),
            "whence runs": partial(process, COMMAND, "runs", "--folder", name),
            "whence train --help": partial(process, COMMAND, "train", "--help"),
            "import torch": partial(process, "import torch"),
            "whence generate, one token": partial(
                process, COMMAND, "generate", model, "a", "--max-tokens", "1"
            ),
        }
        seconds = interleaved(contestants, rounds, warmup=1)
    return [
        {
            "process": name,
            "seconds": f"{statistics.median(times):.2f}",
            "least": f"{min(times):.2f}",
        }
        for name, times in seconds.items()
    ]


def main() -> None:
    """Print the table."""
    table(run())


if __name__ == "__main__":
    main()
