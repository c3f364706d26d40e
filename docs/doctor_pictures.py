"""Pictures for the guide's page on the doctor: each from a real training with that fault.

`python docs/pictures.py doctor` trains, diagnoses and draws: for each theme of rules one picture,
with a panel for each rule that a fault shows: one of `benchmarks/faults`, put into a loop, or else
a run of `whence train`. It says which rules no fault has shown. `… doctor units` draws one theme.
"""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np

from benchmarks.faults import runs
from benchmarks.faults.catalogue import FAULTS, Fault
from benchmarks.faults.loop import train
from benchmarks.faults.models import Setting
from whence.data import text_source
from whence.doctor import Evidence, Finding, gather
from whence.doctor.rules import THEMES, Rule
from whence.runs.run import Run
from whence.train.optimizers import AdamWConfig, SGDConfig
from whence.train.schedules import Schedule

IMAGES = Path(__file__).parent / "images"
ACROSS, WIDE, HIGH = 3, 300, 170
SEED = 3
TRIES = 3  # kinds of model in which a fault is tried, until its rule finds it

STEADY = Schedule("constant", warmup=5)
NO_NORM = replace(runs.SOUND.model, n_layers=6, norm="none", init_std=0.3)
NO_MASK = replace(runs.SOUND.model, causal=False)
STEEP = runs.RunFault(
    "SGD, rate of 1",
    replace(runs.SOUND, schedule=STEADY, optimizer=SGDConfig(learning_rate=1.0)),
    (),
)
SOUND = {type(recipe.model): recipe for recipe in (runs.SOUND, runs.LSTM, runs.MLP)}
OF_EVALS = ("overfitting", "validation-leaks", "too-small")
OF_RUNS = {
    **{fault.right[0]: fault for fault in runs.FAULTS},
    "too-small": runs.RunFault(
        "LSTM of 1 unit",
        replace(
            runs.LSTM,
            model=replace(runs.LSTM.model, d_model=1),
            optimizer=AdamWConfig(learning_rate=0.1),
            schedule=STEADY,
            steps=600,
        ),
        (),
    ),
    "too-good-too-early": runs.RunFault(
        "no mask",
        replace(runs.SOUND, model=NO_MASK, optimizer=AdamWConfig(learning_rate=1e-2), steps=200),
        (),
    ),
    "bouncing": STEEP,
    "edge-of-stability": STEEP,
    "rate-out-of-range": runs.RunFault(
        "rate too low", replace(runs.SOUND, optimizer=AdamWConfig(learning_rate=3e-7)), ()
    ),
    "gradient-noise": runs.RunFault(
        "MLP, batches of 1",
        replace(
            runs.MLP,
            batch_size=1,
            optimizer=AdamWConfig(learning_rate=1e-2),
            schedule=STEADY,
            steps=300,
        ),
        (),
    ),
    "stream-grows": runs.RunFault(
        "six blocks without norms", replace(runs.SOUND, model=NO_NORM), ()
    ),
    "validation-leaks": runs.RunFault("validation copied from training", runs.SOUND, ()),
}


def main(themes: list[str]) -> None:
    """Make a picture for each theme, or for those that are named."""
    for theme in themes or THEMES:
        rules = THEMES[theme]
        panels = {rule.name: _panel(rule) for rule in rules}
        drawn = [panel for panel in panels.values() if panel]
        if drawn:
            (IMAGES / f"doctor-{theme}.svg").write_text(_page(drawn), encoding="utf-8")
        missing = ", ".join(name for name, panel in panels.items() if not panel)
        print(theme, len(drawn), "of", len(panels), "rules; not shown:", missing or "none")


def _panel(rule: Rule) -> str:
    """A panel: the loss with the fault and without it, and where the rule points; empty: none."""
    for name, bad, sound in _trainings(rule.name):
        finding = rule.ask(bad)
        if isinstance(finding, Finding):
            return draw(rule.name, name, bad, sound().loss, finding)
    return ""


def _trainings(rule: str) -> Iterator[tuple[str, Evidence, Callable[[], Evidence]]]:
    """Trainings with a fault that the rule should find: its name, and evidence with and without."""
    named = sorted((f for f in FAULTS if rule in f.right), key=lambda f: f.right.index(rule))
    for fault in named[:TRIES]:
        yield fault.key, _loop(fault), lambda f=fault: _loop(f, sound=True)
    if rule in OF_RUNS:
        fault = OF_RUNS[rule]
        yield f"whence train: {fault.name}", _run(fault), lambda: _run(fault, sound=True)


def _loop(fault: Fault, sound: bool = False) -> Evidence:
    setting, switches = fault.setting(SEED), {} if sound else fault.switches
    if sound:  # what was stopped early goes on
        setting = replace(setting, steps=max(setting.steps, Setting.steps))
    with tempfile.TemporaryDirectory() as folder:
        return gather(train(setting, switches, Path(folder) / "run").recorder, 60.0)


def _run(fault: runs.RunFault, sound: bool = False) -> Evidence:
    words = runs.text(SEED, 150 if fault.small and not sound else 3000)
    if fault is OF_RUNS["validation-leaks"] and not sound:
        words += words[: len(words) // 9]  # the last tenth is held back
    recipe = fault.recipe
    if sound:
        recipe = replace(SOUND[type(recipe.model)], steps=recipe.steps)
    source = text_source("words", lambda: [words])
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(replace(recipe, seed=SEED), Path(folder) / "run", source)
        for _ in run.train():
            pass
        return gather(Run.open(run.path), 60.0)


def draw(rule: str, fault: str, found: Evidence, sound: np.ndarray, finding: Finding) -> str:
    """Draw a panel as SVG: the faulty loss, the sound one beside it, the mark, the first number.

    Where the rule reads the loss on other text, that is drawn too, dotted.
    """
    bad, other = found.loss, [e for e in found.evals if rule in OF_EVALS and math.isfinite(e[1])]
    both = np.concatenate([bad, sound, [loss for _, loss in other]])
    both = both[np.isfinite(both)]
    low, high = float(both.min()), float(min(both.max(), 4 * np.median(sound)))
    high = high if high > low else low + 1
    n = max(len(bad), len(sound), 2)

    def at(step: float, loss: float) -> str:
        y = 130 - 95 * (min(max(loss, low), high) - low) / (high - low)
        return f"{10 + 280 * step / (n - 1):.1f},{y:.1f}"

    def curve(losses: Iterable[tuple[int, float]], name: str) -> str:
        points = " ".join(at(i, x) for i, x in losses if math.isfinite(x))
        return f'<polyline class="{name}" points="{points}"/>'

    fact = str(finding.facts[0]) if finding.facts else ""
    fact = fact if len(fact) <= 58 else fact[:57] + "…"
    mark = ""
    if finding.step is not None:
        x = 10 + 280 * finding.step / (n - 1)
        mark = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="32" y2="134"/>'
    return (
        f'<text class="title" x="10" y="14">{escape(rule)}</text>'
        f'<text class="small" x="10" y="27">{escape(fault)}</text>'
        f"{mark}{curve(enumerate(sound), 'sound')}{curve(enumerate(bad), 'bad')}"
        f"{curve(other, 'bad other')}"
        f'<text class="small" x="10" y="150">{escape(fact)}</text>'
    )


def _page(panels: list[str]) -> str:
    rows = -(-len(panels) // ACROSS)
    body = "".join(
        f'<g transform="translate({WIDE * (i % ACROSS)},{HIGH * (i // ACROSS)})">{panel}</g>'
        for i, panel in enumerate(panels)
    )
    wide, high = WIDE * min(ACROSS, len(panels)), HIGH * rows
    style = (
        "text{font-family:sans-serif;fill:#444}.title{font-size:13px;font-weight:bold}"
        ".small{font-size:9.5px}polyline{fill:none;stroke-width:1.6}"
        ".other{stroke-dasharray:2 2}.bad{stroke:#c0392b}.sound{stroke:#999}"
        ".mark{stroke:#e67e22;stroke-dasharray:3 2}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}"><style>{style}</style><rect width="100%" height="100%" fill="white"/>'
        f"{body}</svg>\n"
    )
