# %% [markdown]
# # 13 · Scale: the same loop, more parameters
#
# In the first lesson one dial was turned. The largest language models have hundreds of billions of dials, some of them more. It is said that the only difference is
# the number of parameters. How much of that is true?
#
# This is the loop, whole. It trained the line of lesson 1 and the GPT of lesson 10; let us look at it once more.

# %%
import inspect
import math
import time

import torch

from whence import Data, Recipe, Record, Run, gpt2_config, modern_config
from whence.experiments.scaling import scaling
from whence.lessons import ask, check, curves, reveal, say, scratch, table
from whence.models import build
from whence.models.small.line import COFFEE_SHOP, Line, Scale, squared_error
from whence.scalar import SGD, Matrix
from whence.scale.plan import plan
from whence.train.loop import train

source = inspect.getsource(train)
body = source[source.rindex('"""') + 3 :].strip("\n")
lines_of_code = len(body.splitlines())
say(
    f"```python\n{body}\n```\n\n{lines_of_code} lines. Nothing in them knows how many parameters there are."
)

# %%
guess = ask(
    "Three GPTs read the same text for the same number of steps, with about 6,000, 100,000 and 800,000 parameters. Which will need "
    "the fewest bits on text that it hasn't seen?",
    "The smallest: it has the least to learn",
    "The middle one",
    "The largest",
)
guess

# %% takes 5 s
shops = COFFEE_SHOP[1]
scale = Scale.of([[d] for d, _ in shops])
x, y = Matrix(scale.inside([[d] for d, _ in shops])), Matrix([[m] for _, m in shops])
line = Line(Matrix([[0.0]]), Matrix([[0.0]]))
batches = {step: [(1.0, (x, y))] for step in range(60)}
*_, (last_step, line_loss) = train(
    line, batches, squared_error, SGD(line.parameters(), 0.1), range(60)
)

sizes = {
    "small": modern_config(n_layers=1, n_heads=1, d_model=16, context_length=64),
    "middle": modern_config(n_layers=2, n_heads=2, d_model=64, context_length=64),
    "large": modern_config(n_layers=4, n_heads=4, d_model=128, context_length=64),
}
folder = scratch()
counts, course, measured, seconds = {}, {}, {}, {}
for name, config in sizes.items():
    record = Record(evaluate_every=60, evaluate_tokens=10_000, sample_every=60, sample_tokens=0)
    data = Data(("topics",), validation=0.02)
    recipe = Recipe(data=data, model=config, steps=60, batch_size=8, record=record)
    run = Run.create(recipe, folder / name)
    began = time.perf_counter()
    losses = [(e.step, e.loss / math.log(2)) for e in run.train() if hasattr(e, "loss")]
    seconds[name] = time.perf_counter() - began
    counts[name] = sum(p.numel() for p in run.model("last").parameters())
    course[f"{counts[name]:,} parameters"] = [
        (losses[i][0], sum(v for _, v in losses[i - 4 : i + 1]) / 5) for i in range(4, 60)
    ]
    measured[name] = next(e["loss"] for e in reversed(run.evals) if not e["whole"]) / math.log(2)

# %%
curves(
    "Bits per character while three sizes learn (mean of five steps)", course, x="step", y="bits"
)

# %%
best = min(measured, key=measured.__getitem__)
reveal(
    guess,
    {"small": "a", "middle": "b", "large": "c"}[best],
    f"""{table(["", "parameters", "bits per character, held back"], [["line (lesson 1)", 2, "–"], *([n, f"{counts[n]:,}", measured[n]] for n in sizes)])}

Here the {best} one needs the fewest, after the same number of steps. But the steps didn't cost the same: a step costs about 6 additions and
multiplications for each parameter and token. Given the same *time* the order may be another one, and that is the question that people
with a budget ask: how many parameters, for how many tokens?""",
)

# %% [markdown]
# ## A law, and a test of it
#
# Three sizes show a direction. To know *how* the loss falls, train several sizes on several amounts of text, and fit a formula to what comes out:
#
# `L(N, D) = E + A / N^α + B / D^β`
#
# N is the number of parameters and D the number of tokens. E stays whatever you add: text that can't be predicted. Such a law is worth something
# only if it says in advance what a larger model will come to. So below it is fitted to four sizes, asked about a fifth, and only then the fifth is trained.

# %% takes 10 s
law = scaling(seeds=(0,), steps=120, widths=(16, 24, 32, 48), larger=64)
curves(law.drawing.title, law.drawing.curves, x=law.drawing.x, y=law.drawing.y)

# %%
say(f"""
{table(law.columns, law.rows)}

{law.answer}

A law from a single run of each size has wide intervals; `whence experiment scaling` takes more runs and longer ones. For large models the same formula led to a
rule of thumb of 20 tokens for each parameter (Hoffmann et al., 2022).
""")

# %% [markdown]
# ## What it takes
#
# Training keeps, for each parameter: its value, its gradient, and two moments of the optimizer. In float32 that is 16 bytes.
# On top come the activations of a batch. All of this can be known *before* a run: the shapes are worked out without any numbers. Below, models of
# published sizes are planned on this machine; none is ever built.

# %% takes 3 s
published = {
    "GPT-2 small (2019)": gpt2_config(n_layers=12, n_heads=12, d_model=768, context_length=1024),
    "GPT-2 XL (2019)": gpt2_config(n_layers=48, n_heads=25, d_model=1600, context_length=1024),
    "GPT-3 (2020)": gpt2_config(n_layers=96, n_heads=96, d_model=12288, context_length=2048),
}
plans = {
    name: plan(lambda config=config: build(config, 50257), (1, config.context_length))
    for name, config in published.items()
}
a = torch.randn(512, 512)
for _ in range(3):
    a @ a
began = time.perf_counter()
for _ in range(20):
    a @ a
speed = 20 * 2 * 512**3 / (time.perf_counter() - began)  # additions and multiplications a second
year = 365.25 * 24 * 3600
rows = []
for name, found in plans.items():
    n = found.n_parameters
    work = 6 * n * 20 * n
    kept = found.weights + found.gradients + found.moments
    rows.append(
        [
            name,
            f"{n:,}",
            f"{kept / 1e9:,.1f} GB",
            f"{work:.1e}",
            f"{years:,.0f}" if (years := work / speed / year) > 100 else f"{years:.1f}",
        ]
    )
small_parameters, gpt3_parameters = (
    plans["GPT-2 small (2019)"].n_parameters,
    plans["GPT-3 (2020)"].n_parameters,
)
small_bytes = plans["GPT-2 small (2019)"].weights * 4
say(f"""
{table(["model", "parameters", "memory", "operations", "years here"], rows)}

The memory is that of weights, gradients and moments; the operations are those of training on 20 tokens for each parameter. This machine does about {speed / 1e9:,.0f} billion operations a second on a matrix of this size, so that is where the years come from. One H100, a GPU made for this, can do 990,000 billion with numbers of 16 bits by its data sheet,
{990e12 / speed:,.0f} times as many; a real training gets about a third to a half of that. And thousands of them work at once. Same formula.
""")

# %% [markdown]
# ## So is it only the number of parameters?
#
# The loop is the same, and the formulas of the model are. What changes with scale is everything around them: the numbers no longer fit on one
# machine, so they are spread over many; rates and initial weights must be chosen so that signals keep their size; text must be found and
# cleaned by the terabyte; and a run that fails after a month must be taken up where it stopped. "The only difference" hides most of the
# work. But nothing *magic* is added.
#
# *"Abilities emerge suddenly with size."* Some measures jump, others of the same model rise smoothly; it depends on the measure. The bits per
# character above fall without a jump.
#
# ## Your turn
#
# A model of 7 billion parameters is to be trained with AdamW in float32: four numbers of 4 bytes for each parameter, activations left out. How many GB
# (billions of bytes) does it take?

# %%
gigabytes = 0  # your turn: how many GB
check(
    gigabytes == 112,
    "7 billion times 16 bytes. That is more than one GPU of 80 GB holds, so the model must be spread over several, or kept in fewer bits.",
    f"Not {gigabytes:g}. Value, gradient and two moments are 4 numbers, each of 4 bytes: how many bytes for each parameter?",
)

# %% [markdown]
# **Further.** `whence train` says what a run will need before it starts, and refuses what doesn't fit. `whence ladder my.txt
# --seconds-each 30` gives every kind of model the same time.
