"""The record at scale: a folder of 500 runs, and a run of a million steps with 1,000 checkpoints.

`python -m benchmarks record`. Each row is a process of its own, with the memory that it took at
most. The reference reads every line of the record, as all of this once did. The steps of the long
run are invented, but for the last, which are trained, so that it can be resumed and rewound.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import table

STEPS, RUNS, SHORT, CHECKPOINTS = 1_000_000, 500, 10_000, 1_000
ROUNDS = 3
REPLAYED = 5


def build(folder: Path) -> None:
    """Make the long run and the many short ones."""
    from whence.data import text_source
    from whence.models import BigramConfig
    from whence.runs.recipe import Data, Recipe, Record
    from whence.runs.run import Run
    from whence.runs.store.chain import link, note
    from whence.runs.store.checkpoints import copied, folder_name, save_checkpoint, saved_steps
    from whence.runs.store.past import Past
    from whence.runs.summary import summary_of
    from whence.scale.hardware import Hardware

    text = "".join(f"{i} bottles of beer on the wall.\n" for i in range(99, 9, -1))
    source = text_source("bottles", lambda: [text])

    def made(name: str, steps: int) -> Run:
        recipe = Recipe(
            data=Data(source=("bottles",)),
            model=BigramConfig(context_length=16),
            hardware=Hardware(device="cpu", precision="fp32", threads=1),
            record=Record(evaluate_every=10**7, sample_tokens=0),
            batch_size=4,
            steps=steps,
        )
        return Run.create(recipe, folder / name, source)

    run = made("runs/long", STEPS + 100)
    invent(run, STEPS)
    session = run.session()
    model = copied(session.model.state_dict(keep_vars=True))
    memory = copied(session.optimizer.state_dict())
    tie = link(run.header, {})
    first = save_checkpoint(run.checkpoint_folder, STEPS // CHECKPOINTS, model, memory, tie)
    for number in range(2, CHECKPOINTS):
        shutil.copytree(first, run.checkpoint_folder / folder_name(number * STEPS // CHECKPOINTS))
    tie = link(run.header, Past(run.path).now())
    save_checkpoint(run.checkpoint_folder, STEPS, model, memory, tie)
    note(run.path, run.header, saved_steps(run.checkpoint_folder))
    stop = iter(range(REPLAYED + 1))
    for _ in Run.open(run.path).train(should_stop=lambda: next(stop) == REPLAYED):
        pass
    one = made("runs/short-0", SHORT)
    invent(one, SHORT)
    summary_of(one.path)  # as the end of a training leaves it
    for number in range(1, RUNS):
        shutil.copytree(one.path, folder / f"runs/short-{number}")


def invent(run, steps: int) -> None:
    """Write a record of steps that were never done."""

    def record(step: int) -> dict:
        loss = 4.0 / (1 + step) ** 0.05
        return {
            "step": step, "loss": loss, "loss_hex": loss.hex(), "rate": 0.001,
            "grad_norm": 1.25, "seconds": 0.012345, "tokens": 64,
        }  # fmt: skip

    lines = run.logs.steps
    lines.replace(record(step) for step in range(steps))


def every_line(folder: Path) -> None:
    from whence.runs.store.records.lines import Lines

    assert len(list(Lines(folder / "runs/long/steps.jsonl", {"step": int}))) > STEPS


def list_them(folder: Path) -> None:
    from whence.runs.summary import runs_in, state_of_summary, summary_of

    found = [(path, summary_of(path)) for path in runs_in(folder / "runs")]
    assert len(found) == RUNS + 1
    assert not any(s.trouble for _, s in found)
    for path, s in found:
        state_of_summary(path, s)


def list_older(folder: Path) -> None:
    """As runs of an older Whence are listed for the first time, and copies without their times."""
    for path in (folder / "runs").glob("*/.summary.json"):
        path.unlink()
    list_them(folder)


def list_in_the_studio(folder: Path) -> None:
    from whence.studio.answers.training.runs import runs

    assert len(runs(folder / "runs")["runs"]) == RUNS + 1


def public_list(folder: Path) -> None:
    from whence import list_runs

    assert len(list_runs(folder / "runs")) == RUNS + 1


def resume(folder: Path) -> None:
    """Up to the first event; what a step of it takes is a training's own."""
    from whence.runs.run import Run

    for _ in Run.open(folder / "runs/long").train(should_stop=lambda: True):
        pass


def rewind(folder: Path) -> None:
    from whence.runs.run import Run

    run = Run.open(folder / "runs/long")
    assert run.at(STEPS + REPLAYED - 1).replayed == REPLAYED - 1


def fork(folder: Path) -> None:
    from whence.runs.fork import fork as make_fork
    from whence.runs.run import Run

    out = folder / "forked" / f"{os.getpid()}"
    child = make_fork(Run.open(folder / "runs/long"), STEPS, out, {"optimizer.learning_rate": 1e-4})
    assert len(child.steps) == STEPS
    shutil.rmtree(out)


def draw(folder: Path) -> None:
    from whence.runs.store.records.curves import Curves, thin

    assert len(thin(Curves(folder / "runs/long")["loss"], 500))


def export(folder: Path) -> None:
    from whence.runs.questions.export import export_metrics
    from whence.runs.run import Run

    export_metrics(Run.open(folder / "runs/long"), "csv").unlink()


def without_index(folder: Path) -> None:
    from whence.runs.store.records.record import Logs

    path = folder / "runs/long/steps.index"
    path.unlink()
    assert len(Logs(folder / "runs/long").read_steps()) > STEPS


TASKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "reference": (every_line, "every line of a million read, as a reference"),
    "list, first": (list_them, f"whence runs, {RUNS + 1} runs, never listed before"),
    "list, older": (list_older, f"whence runs, {RUNS + 1} runs that hold no summary"),
    "list": (list_them, f"whence runs, {RUNS + 1} runs"),
    "studio": (list_in_the_studio, f"the studio's list, {RUNS + 1} runs"),
    "list_runs": (public_list, f"list_runs, {RUNS + 1} runs"),
    "resume": (resume, "resume at a million steps, up to its first step"),
    "rewind": (rewind, f"rewind there, with {REPLAYED - 1} steps replayed"),
    "fork": (fork, "fork there"),
    "export": (export, "a million steps as CSV"),
    "draw": (draw, "the curve of a million losses"),
    "made anew": (without_index, "the index made anew"),
}
ONCE = ("list, first", "list, older", "reference", "made anew")  # the next time is another matter


def alone(task: str, folder: Path) -> None:
    """Print the seconds and the megabytes of one task, without what importing takes."""
    import whence.runs.fork
    import whence.runs.summary
    import whence.studio.answers.training.runs  # noqa: F401
    from whence.scale.hardware import Hardware

    with Hardware(device="cpu").in_force():
        pass  # what PyTorch imports at its first use
    before = peak(anew=True)
    start = time.perf_counter()
    TASKS[task][0](folder)
    seconds = time.perf_counter() - start
    print(seconds, peak() - before)


def peak(anew: bool = False) -> float:
    """The most megabytes that this process has held, or counted anew from now on, as Linux does."""
    counted = Path("/proc/self/status")
    if not counted.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    [line] = [line for line in counted.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Build the runs, measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="record-"))
    try:
        build(folder)
        rows = []
        for task, (_, title) in TASKS.items():
            words = [sys.executable, "-W", "ignore", "-m", "benchmarks.record", task, str(folder)]
            rounds = ROUNDS if task not in ONCE else 1
            found = []
            for _ in range(rounds):
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                found.append([float(word) for word in done.stdout.split()])
            seconds, memory = map(statistics.median, zip(*found, strict=True))
            rows.append({"what": title, "seconds": f"{seconds:.2f}", "MB more": f"{memory:.0f}"})
            print(rows[-1], file=sys.stderr, flush=True)
        table(rows)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    alone(sys.argv[1], Path(sys.argv[2]))
