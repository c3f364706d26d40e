# %% [markdown]
# # 14 · Going wrong, and finding out
#
# Most trainings go wrong before they go right. Rarely does anything crash: a loss falls a little less than it might, or falls beautifully and the model is useless.
# How does one find out what is wrong? By looking at numbers, going back to the step where they went astray, and trying the cure beside a training without it.

# %% takes 3 s
import random
from dataclasses import replace

from whence import AdamWConfig, Data, GPTConfig, Hardware, Recipe, Record, Run, WhenceError
from whence.data import text_source
from whence.doctor import RULES, diagnose
from whence.doctor.prove import try_change
from whence.lessons import ask, check, curves, reveal, say, scratch, table

rng = random.Random(0)
animals, deeds, places = (
    ["owl", "hen", "cow", "cat"],
    ["sleeps", "eats", "sings"],
    ["by day", "at night", "in the barn"],
)
lines = [f"the {rng.choice(animals)} {rng.choice(deeds)} {rng.choice(places)}." for _ in range(400)]
farm = "\n".join(lines)
sound = Recipe(
    data=Data(source=("farm",)),
    model=GPTConfig(n_layers=2, n_heads=2, d_model=32, context_length=24),
    optimizer=AdamWConfig(learning_rate=3e-3),
    hardware=Hardware(device="cpu", precision="fp32", threads=1),
    record=Record(evaluate_every=20, evaluate_tokens=500, sample_tokens=0, checkpoint_every=20),
    batch_size=8,
    steps=80,
)
folder = scratch()


def trained(name, recipe):
    run = Run.create(recipe, folder / name, text_source("farm", lambda: [farm]))
    try:
        for _ in run.train():
            pass
    except WhenceError:  # a number that isn't finite ends it, and what was done stays
        pass
    return Run.open(run.path)


runs = {
    "A": trained("a", sound),
    "B": trained("b", replace(sound, model=replace(sound.model, causal=False))),
    "C": trained("c", replace(sound, optimizer=AdamWConfig(learning_rate=1e-6))),
    "D": trained("d", replace(sound, optimizer=AdamWConfig(learning_rate=1.0))),
}
losses = {name: [step["loss"] for step in run.steps] for name, run in runs.items()}

# %% [markdown]
# Four trainings on the same lines about a farm. They differ in one setting each. Look at their losses first, as one does.

# %%
guess = ask(
    "In which of them is nothing wrong?",
    "A: it falls, and stays above 0",
    "B: it falls furthest",
    "C: it is the calmest",
)
guess

# %%
curves(
    "Four trainings",
    {name: list(enumerate(curve)) for name, curve in losses.items()},
    x="step",
    y="loss",
    top=6,
)

# %% takes 3 s
found = {name: diagnose(run, seconds=30) for name, run in runs.items()}
acts = {name: [f for f in seen if f.level == "act"] for name, seen in found.items()}
rows = [
    [name, f"{losses[name][-1]:.3f}", acts[name][0].verdict if acts[name] else "nothing found"]
    for name in runs
]
reveal(
    guess,
    "a",
    f"""
The doctor was called to all four:

{table(["run", "last loss", "first finding"], rows)}

A loss says how well the targets are met. It doesn't say how. B meets them best, since it may look at them: nothing hides from a token those that follow, so it
copies what it should foresee. It will write nonsense, as there is nothing to copy from when the next token isn't there yet.
""",
)

# %% [markdown]
# ## A number that gives it away
#
# How does one find a missing mask without reading the code? By a question to the model. Change the last token of a text. What was predicted before it
# must not change, as that token hadn't been read yet.

# %%
leak = next(f for f in acts["B"] if f.rule == "sees-the-future")
moved = leak.facts[0].value
say(f"""
In B, earlier predictions move by {moved:.3g} times the spread of the logits when the last token is changed. In A it is nothing at all: not a small number, but 0 up to
rounding.

Such a question has a yes or a no. Many faults have one: change another example of the batch, and see whether this one moves. Read the same text twice. Ask each weight whether it
has ever had a gradient.
""")

# %% [markdown]
# ## Too slow, too fast
#
# C and D differ in the rate alone. Here one needs a measure: how much does a step change a weight, compared with its size? About a thousandth is healthy.

# %%
slow = next(f for f in acts["C"] if f.rule == "update-too-small")
fast = next(f for f in acts["D"] if f.rule == "update-too-large")
slow_ratio, fast_ratio = slow.facts[0].value, fast.facts[0].value
say(f"""
{table(["run", "rate", "update / weight"], [["C", f"{1e-6:g}", f"{slow_ratio:.1e}"], ["D", "1", f"{fast_ratio:.1e}"]])}

At C's pace it would take about {1 / slow_ratio:,.0f} steps to change a weight by its own size. D throws away in one step what it was given at the start.
""")

# %% [markdown]
# ## The proof
#
# *Lower the rate* is advice, and advice is cheap. So try it: the same training with the one change. And, beside it, the same without the change, as other weights at the start alone can make a difference.

# %%
guess_proof = ask(
    "B is trained again with the mask, twice, with two seeds. What happens to its loss?",
    "It is lower still",
    "It is higher, and the model is better",
    "It stays as it is",
)
guess_proof

# %% takes 5 s
rule = next(r for r in RULES if r.name == "sees-the-future")
proof = try_change(runs["B"], leak, rule, seeds=2)
with_mask = sum(proof.with_change) / len(proof.with_change)
without_mask = sum(proof.control) / len(proof.control)
reveal(
    guess_proof,
    "b" if with_mask > without_mask else "a",
    f"""
{table(["", "loss on lines held back"], [["with the mask", with_mask], ["without", without_mask]])}

The loss goes from {without_mask:.3f} to {with_mask:.3f}, and the finding is gone. The verdict is *{proof.outcome}*: this fault flattered the loss, so the doctor doesn't hold the
loss against the cure. Two measures can disagree. Then ask which of them measures what you want.
""",
)

# %% [markdown]
# ## What is often said wrong
#
# *"The loss falls, so it learns."* It learns something. B learnt to copy.
#
# *"The last thing that broke is the cause."* A loss that is not a number at step 900 may come from a weight that began to grow at step 300. Each step can be done again, so one can halve the
# distance: was all as usual at step 450? At 675? Ten such questions find one step among a thousand.
#
# *"I changed three things and now it works."* Then you know nothing about two of them.
#
# ## Your turn
#
# Give a rate for D, so that the doctor finds nothing to act on.

# %% takes 2 s
rate = 1.0  # your turn: the rate
if 0 < rate <= 10:
    mine = trained(
        f"mine-{rng.random()}", replace(sound, optimizer=AdamWConfig(learning_rate=rate))
    )
    left = [f for f in diagnose(mine, seconds=30) if f.level == "act"]
    verdict = left[0].verdict if left else ""
else:
    left, verdict = [None], "give a rate above 0 and at most 10"
check(
    not left,
    f"With a rate of {rate:g} there is nothing to act on.",
    f"At {rate:g} it still says: {verdict}.",
)

# %% [markdown]
# **Further.** `whence doctor RUN` on a run of your own, `--prove` to try its advice. For a loop of your own `whence.watch(model, optimizer)` and `diagnose(recorder)`. The guide's page *The doctor* has all its rules.
