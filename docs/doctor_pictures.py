"""Pictures for the guide's page on the doctor: each from a real training with that fault.

`python docs/pictures.py doctor` trains, diagnoses and draws: for each theme of rules one picture,
with a panel for each rule that a fault of `benchmarks/faults` shows.
"""

import math
import tempfile
from html import escape
from pathlib import Path

import numpy as np

from benchmarks.faults.catalogue import FAULTS, Fault
from benchmarks.faults.loop import train
from whence.doctor import Finding, gather
from whence.doctor.rules import THEMES, ask_all

IMAGES = Path(__file__).parent / "images"
ACROSS, WIDE, HIGH = 3, 300, 170
SEED = 3


def main() -> None:
    """Make a picture for each theme."""
    for theme, rules in THEMES.items():
        panels = []
        for rule in rules:
            fault = next((f for f in FAULTS if f.right[0] == rule.name), None)
            if fault is None:
                continue
            panel = _panel(rule.name, fault)
            if panel:
                panels.append(panel)
        if panels:
            (IMAGES / f"doctor-{theme}.svg").write_text(_page(panels), encoding="utf-8")
            print(theme, len(panels))


def _panel(rule: str, fault: Fault) -> str:
    """A panel: the loss with the fault and without it, and where the rule points."""
    with tempfile.TemporaryDirectory() as folder:
        setting = fault.setting(SEED)
        bad = gather(train(setting, fault.switches, Path(folder) / "bad").recorder, 60.0)
        sound = gather(train(setting, {}, Path(folder) / "sound").recorder, 60.0)
    findings, _, _ = ask_all([r for rs in THEMES.values() for r in rs if r.name == rule], bad)
    if not findings:
        return ""
    return draw(rule, fault.key, bad.loss, sound.loss, findings[0])


def draw(rule: str, fault: str, bad: np.ndarray, sound: np.ndarray, finding: Finding) -> str:
    """Draw a panel as SVG: the faulty loss, the sound one beside it, the mark, the first number."""
    both = np.concatenate([bad, sound])
    both = both[np.isfinite(both)]
    low, high = float(both.min()), float(min(both.max(), 4 * np.median(sound)))
    high = high if high > low else low + 1
    n = max(len(bad), len(sound), 2)

    def at(step: float, loss: float) -> str:
        y = 130 - 95 * (min(max(loss, low), high) - low) / (high - low)
        return f"{10 + 280 * step / (n - 1):.1f},{y:.1f}"

    def curve(losses: np.ndarray, name: str) -> str:
        points = " ".join(at(i, x) for i, x in enumerate(losses) if math.isfinite(x))
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
        f"{mark}{curve(sound, 'sound')}{curve(bad, 'bad')}"
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
        ".bad{stroke:#c0392b}.sound{stroke:#999}.mark{stroke:#e67e22;stroke-dasharray:3 2}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}"><style>{style}</style><rect width="100%" height="100%" fill="white"/>'
        f"{body}</svg>\n"
    )
