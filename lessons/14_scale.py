# %% [markdown]
# # 14 · Scale: the same loop, more parameters
#
# In the first lesson we turned a single dial. The largest language models have hundreds of billions of dials. Some say that the only difference is
# the number of parameters. How much of that is true?
#
# Here is the loop, all of it. It trained the line of lesson 1 and the GPT of lesson 11.

# %%
import inspect
import math
import time

import torch

from whence import Data, Recipe, Record, Run, gpt2_config, modern_config
from whence.experiments.training.scaling import scaling
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
    "Three GPTs read the same text for the same number of steps. They have about 6,000, 100,000 and 800,000 parameters. Which one will need "
    "the fewest bits on text that it hasn't seen?",
    "The smallest, because it has the least to learn",
    "The middle one",
    "The largest",
    "Two of them, as far as one run of each tells",
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
best, second, _ = sorted(measured, key=measured.__getitem__)
lead = measured[second] - measured[best]
reveal(
    guess,
    {"small": "a", "middle": "b", "large": "c"}[best] if lead > 0.05 else "d",
    f"""{table(["", "parameters", "bits per character, held back"], [["line (lesson 1)", 2, "–"], *([n, f"{counts[n]:,}", measured[n]] for n in sizes)])}

Here the {best} one needs the fewest bits after the same number of steps, by {lead:.3f} bits{"" if lead > 0.05 else ", which other first weights could reverse"}. But the steps didn't cost the same: a step takes about 6 additions and
multiplications for each parameter and each token. Given the same *time*, the order may be a different one. People with a budget have to ask: how many parameters,
and how many tokens?""",
)

# %% [markdown]
# ## A law, and a test of it
#
# To know *how* the loss falls, train several sizes on several amounts of text and fit a formula to the results:
#
# `L(N, D) = E + A / N^α + B / D^β`
#
# N is the number of parameters and D the number of tokens. E is what remains whatever you add: the part of a text that nobody can predict. Such a law is worth something
# only if it says in advance how well a larger model will do. So we fit it to three sizes, let it predict a fourth, and only then train the fourth.

# %% takes 5 s
law = scaling(seeds=(0,), steps=80, widths=(16, 24, 32), larger=48)
curves(law.drawing.title, law.drawing.curves, x=law.drawing.x, y=law.drawing.y)

# %%
say(f"""
{table(law.columns, law.rows)}

{law.answer}

With a single run of each size the intervals are wide; `whence experiment scaling` takes more runs and longer ones. For large models the same formula led to a
rule of thumb: 20 tokens for each parameter (Hoffmann and others, [2022](https://arxiv.org/abs/2203.15556)).
""")

# %% [markdown]
# ## What it takes
#
# For each parameter, training keeps its value, its gradient, and two numbers of the optimizer (Adam's m and v). In float32 that is 16 bytes.
# The activations of a batch, which is all that is computed on the way forward, come on top. All of this can be known *before* a run, because the shapes can be worked out without any numbers. Below we plan models of
# published sizes on this computer. None of them is ever built.

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

The memory is for weights, gradients and the optimizer's two numbers; the operations are for training on 20 tokens for each parameter. This computer does about {speed / 1e9:,.0f} billion operations a second on a matrix of this size, and that gives the years. One H100, a GPU made for such work, can do 990,000 billion a second with 16-bit numbers, according to its data sheet.
That is {990e12 / speed:,.0f} times as many. A real training run gets about a third to a half of it, and thousands of GPUs work at once. The formula is the same.
""")

# %% [markdown]
# ## So is it only the number of parameters?
#
# The loop is the same, and so are the formulas of the model. What changes with scale is everything around them. The numbers no longer fit on one
# machine, so they are spread over many. Rates and initial weights must be chosen so that signals keep their size. Text must be found and
# cleaned by the terabyte. And a run that fails after a month must go on from where it stopped. "The only difference" hides most of the
# work. But no *magic* is added.
#
# ## What is often said wrong

# %%
falls = list(measured.values()) == sorted(measured.values(), reverse=True)
say(f"""
Some abilities are *"not present in smaller models but … present in larger models"*, as if they appeared all at once (Wei and others,
[2022](https://arxiv.org/abs/2206.07682), on what they call emergent abilities). Schaeffer and others ([2023](https://arxiv.org/abs/2304.15004)) showed that this often depends on the measure: the same answers of the same models seem to jump by one measure and improve smoothly by another. The bits per
character above {"fall from size to size" if falls else "don't even fall from size to size"}: {", ".join(f"{bits:.2f}" for bits in measured.values())}. Three sizes are too few to show a jump, or that there is none.
""")

# %% [markdown]
# ## Your turn
#
# A model of 7 billion parameters is to be trained with AdamW in float32. That takes four numbers of 4 bytes for each parameter, activations not counted. How many GB
# (billions of bytes) is that?

# %%
gigabytes = 0  # your turn: how many GB
check(
    gigabytes == 112,
    "7 billion times 16 bytes. That is more than one GPU of 80 GB holds, so the model must be spread over several GPUs or kept in fewer bits.",
    f"Not {gigabytes:g}. The value, the gradient and two more are 4 numbers, each of 4 bytes: how many bytes for each parameter?",
)

# %% [markdown]
# **Further.** `whence train` says what a run will need before it starts, and refuses what doesn't fit. `whence ladder my.txt
# --seconds-each 30` gives every kind of model the same time.
