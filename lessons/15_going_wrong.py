# %% [markdown]
# # 15 · Going wrong, and finding out
#
# Most training runs go wrong before they go right. They rarely crash. The loss falls a little less than it might, or it falls beautifully and the model is useless.
# How do you find out what is wrong? Look at the numbers, go back to the step where they went astray, and try the cure side by side with a run without it.

# %% takes 3 s
import random
from dataclasses import replace

from whence import AdamWConfig, Data, GPTConfig, Hardware, Recipe, Record, Run, WhenceError
from whence.data import text_source
from whence.doctor import RULES, diagnose
from whence.doctor.prove import try_change
from whence.lessons import ask, check, curves, figure, reveal, say, scratch, table

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
    except WhenceError:  # a loss or gradient that isn't finite ends the run; its steps are kept
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
# Here are four training runs on the same lines about a farm. B, C and D each differ from A in one setting. First look at their losses, as people do.

# %%
guess = ask(
    "In which of these is nothing wrong?",
    "A: it falls and stays above 0",
    "B: it falls the furthest",
    "C: it is the calmest",
    "In another, in several, or in none",
)
guess

# %%
curves(
    "Four training runs",
    {name: list(enumerate(curve)) for name, curve in losses.items()},
    x="step",
    y="loss",
    top=6,
)

# %% takes 3 s
found = {name: diagnose(run, seconds=30) for name, run in runs.items()}

# %%
acts = {name: [f for f in seen if f.level == "act"] for name, seen in found.items()}
rows = [
    [name, f"{losses[name][-1]:.3f}", acts[name][0].verdict if acts[name] else "nothing found"]
    for name in runs
]
clean = [name for name in runs if not acts[name]]
lowest = min(runs, key=lambda name: losses[name][-1])
reveal(
    guess,
    {"A": "a", "B": "b", "C": "c"}.get("".join(clean), "d"),
    f"""
Let us send the doctor (`whence doctor`) to all four:

{table(["run", "last loss", "first finding"], rows)}

A loss says how well the model predicts. It doesn't say how it does it. B {"predicts best because it can" if lowest == "B" else "can"} look ahead: nothing hides the following tokens from it, so it
copies what it should predict. It will write nonsense, because there is nothing to copy when the next token isn't there yet.
""",
)

# %% [markdown]
# ## A number that gives it away
#
# How do you find a missing mask without reading the code? Ask the model. Change the last token of a text. The predictions before it
# must not change, because that token hadn't been read yet.

# %%
leak = next(f for f in acts["B"] if f.rule == "sees-the-future")
moved = leak.facts[0].value
say(f"""
In B, earlier predictions move by {moved:.3g} times the spread of the logits when the last token is changed. {"In A they don't move at all: the figure is 0, up to rounding." if "A" in clean else "In A, too, the doctor found something."}

A question like this has the answer yes or no. Many faults have such a question. Change another example in the batch: does this one move? Read the same text twice: is the answer the same? Has each weight
ever had a gradient?
""")

# %% [markdown]
# ## Too slow, too fast
#
# C and D differ from A only in the rate. Here we need a measure: how much does a step change a weight, compared with the weight's size? About a thousandth is healthy.

# %%
slow = next(f for f in acts["C"] if f.rule == "update-too-small")
fast = next(f for f in acts["D"] if f.rule == "update-too-large")
slow_ratio, fast_ratio = slow.facts[0].value, fast.facts[0].value
say(f"""
{table(["run", "rate", "update / weight"], [["C", figure(1e-6), figure(slow_ratio)], ["D", "1", figure(fast_ratio)]])}

At C's pace it would take about {1 / slow_ratio:,.0f} steps to change a weight by its own size. {"D throws away in one step what it started with." if fast_ratio > 1 else f"D takes {1 / fast_ratio:,.0f}."}
""")

# %% [markdown]
# ## The proof
#
# "Lower the rate" is advice, and advice is cheap. So try it: train again with this one change. Train once more without the change, too, because different initial weights alone can make a difference.

# %%
guess_proof = ask(
    "B is trained again with the mask, twice, with two seeds. What happens to its loss?",
    "It gets even lower",
    "It gets higher, and the model gets better",
    "Two seeds can't tell",
)
guess_proof

# %% takes 5 s
rule = next(r for r in RULES if r.name == "sees-the-future")
proof = try_change(runs["B"], leak, rule, seeds=2)
with_mask = sum(proof.with_change) / len(proof.with_change)
without_mask = sum(proof.control) / len(proof.control)
reveal(
    guess_proof,
    "b"
    if min(proof.with_change) > max(proof.control)
    else "a"
    if max(proof.with_change) < min(proof.control)
    else "c",
    f"""
{table(["", "loss on lines held back"], [["with the mask", with_mask], ["without it", without_mask]])}

The loss goes from {without_mask:.3f} to {with_mask:.3f}. The verdict is *{proof.outcome}*{": the fault is gone, and as it had made the loss look good, the doctor doesn't hold the higher loss against the cure" if proof.outcome == "cured" else ", since the fault is still there, or the trial came to no end"}. Two measures can disagree. Then ask which of them measures what you want.
""",
)

# %% [markdown]
# ## What is often said wrong
#
# *"If AI Bot got most of the answers correct, then we can be confident that AI Bot found the patterns"* ([code.org](https://curriculum.code.org/docs/concepts/ai-lab/accuracy-in-ai-lab),
# which adds a warning). Not if the answers were in what it was given. Kapoor and Narayanan ([2023](https://doi.org/10.1016/j.patter.2023.100804)) found 294 published papers in 17 fields
# whose results were spoiled by such leaks, and often looked too good because of them. B has learned something: to copy.
#
# *"Finding the first bad op tells you which layer and which math … to fix"* ([NaN Forensics](https://25621.github.io/ai-learning-guides/guides/pytorch-deep-dive/projects/nan-forensics/); NaN means "not a number").
# It tells you where it broke. The cause may lie far back: a loss that becomes NaN at step 900 may come from a weight that started to grow at step 300. Since every step can be repeated, you can halve the
# distance: was everything normal at step 450? At 675? Ten such questions find one step among a thousand.
#
# And change one thing at a time. If you changed three and now it works, you know nothing about two of them.
#
# ## Your turn
#
# Give D a rate with which the doctor finds nothing to act on.

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
    f"With a rate of {rate:g} the doctor still says: {verdict}.",
)

# %% [markdown]
# **Further.** Try `whence doctor RUN` on a run of your own, and `--prove` to test its advice. For a training loop of your own there are `whence.watch(model, optimizer)` and `diagnose(recorder)`. All the rules are on the guide's page *The doctor*.
