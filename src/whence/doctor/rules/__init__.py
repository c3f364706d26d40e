"""The rules by theme: to add one, add a row to the table at the end of a file."""

from whence.doctor.rules import (
    attention,
    coverage,
    data,
    gradients,
    landscape,
    loss,
    model,
    units,
    updates,
    validation,
)
from whence.doctor.rules.rule import Rule, ask_all

THEMES = {
    "loss": loss.RULES,
    "gradients": gradients.RULES,
    "updates": (*coverage.RULES, *updates.RULES, *landscape.RULES),
    "units": units.RULES,
    "model": (*model.RULES, *attention.RULES),
    "data": data.RULES,
    "validation": validation.RULES,
}
RULES: tuple[Rule, ...] = tuple(rule for rules in THEMES.values() for rule in rules)

__all__ = ["RULES", "THEMES", "Rule", "ask_all"]
