# %% [markdown]
# # 10 · The Transformer, and a GPT on real text
#
# A GPT does one thing: it reads some text and says how likely each character is to come next. Everything it can do comes from doing
# this well.
#
# It is a stack of equal **blocks**. Along the stack runs the **residual stream**: one vector for each token. A block
# reads the stream and *adds* to it, twice:
#
# - `h = x + attention(norm(x))`: the tokens read each other (lesson 9);
# - `y = h + feed_forward(norm(h))`: each token is worked on by itself, by a small MLP.
#
# At the end `logits = head(norm(y))`, and softmax makes probabilities of them.

# %%
import math

import torch

from whence import Data, Recipe, Record, Run, modern_config
from whence.data.baselines import baselines
from whence.lessons import Box, ask, check, curves, flow, reveal, say, scratch, table
from whence.models import build
from whence.train.losses import cross_entropy

# %% [markdown]
# The text is the Python language reference, which lies inside every Python: some 470,000 characters of real prose. The last tenth
# is held back; the model never trains on it, and is measured on it.

# %% takes 2 s
config = modern_config(n_layers=2, n_heads=2, d_model=64, context_length=64)
recipe = Recipe(
    data=Data(("topics",)),
    model=config,
    steps=120,
    batch_size=16,
    record=Record(evaluate_every=60, evaluate_tokens=20_000, sample_every=40, sample_tokens=120),
)
run = Run.create(recipe, scratch() / "lesson")
known = {baseline.name: baseline.bits_per_byte for baseline in baselines(run.dataset)}
vocabulary = run.tokenizer.vocab_size
n_parameters = sum(p.numel() for p in run.session().model.parameters())
uniform = known["uniform"]
say(f"""
The model has {n_parameters:,} parameters; the text has {vocabulary} different characters. What others need to write down the
held-back part, in bits for each byte:

{table(["", "bits per byte"], list(known.items()))}

*Uniform* is a guess. *Unigram* counts characters, *bigram* counts pairs. gzip and xz are the packers on your computer;
they remember long stretches of what they have seen.
""")

# %%
guess = ask(
    "The model takes 120 steps of 16 stretches of 64 characters, a quarter of the text. Which will it have beaten?",
    "None of them",
    "uniform and unigram",
    "uniform, unigram and bigram",
    "all but xz",
)
guess

# %% takes 3 s
points = [(e.step, e.loss / math.log(2)) for e in run.train() if hasattr(e, "loss")]
samples = [(sample["step"], sample["text"]) for sample in run.samples]
measured = run.evals[-1]["bits_per_byte"]
first_loss = points[0][1] * math.log(2)
smooth = [
    (points[i][0], sum(y for _, y in points[i - 4 : i + 1]) / 5) for i in range(4, len(points))
]

# %%
curves(
    "A GPT learns",
    {
        "loss of each batch": points,
        "mean of the last five": smooth,
        "bigram": [(0, known["bigram"]), (120, known["bigram"])],
    },
    x="step",
    y="bits per character",
)

# %%
beaten = [name for name in ("uniform", "unigram", "bigram", "gzip") if measured < known[name]]
reveal(
    guess,
    {0: "a", 2: "b", 3: "c", 4: "d"}.get(len(beaten), "b"),
    f"""It needs {measured:.3f} bits per byte on the part it never saw, and has beaten {", ".join(beaten) or "none"}. Before the
first step it needed {first_loss:.4f} nats for each character, which is ln {vocabulary} = {math.log(vocabulary):.4f}: it knew
nothing, and said so. What it wrote on the way:

{table(["step", "it writes"], [[step, "`" + " ".join(text.split()).replace("`", "'")[:90] + "`"] for step, text in samples])}

Two minutes of `whence train` bring a model sixteen times as large to about 1.55 bits.""",
)

# %% [markdown]
# ## Why `x +`?
#
# A block could as well *replace* the vector. Let us stack more and more blocks, before any training, and look at the
# gradient that reaches the first of them: with `x +`, without it, and without it but with norms.


# %%
def first_gradient(n_layers, norm, without):
    """The norm of the gradient at the values' matrix of the first block."""
    torch.manual_seed(0)
    small = modern_config(
        n_layers=n_layers,
        n_heads=4,
        d_model=48,
        context_length=48,
        activation="gelu",
        norm=norm,
        init_std=None,
        embedding_std=1.0,
        zero_head=False,
        without=without,
    )
    model = build(small, vocabulary)
    tokens = torch.as_tensor(run.dataset.train[: 8 * 48].astype("int64")).view(8, 48)
    cross_entropy(model(tokens[:, :-1]), tokens[:, 1:]).backward()
    return model.blocks[0].attn.v.weight.grad.norm().item()


depths = (1, 2, 4, 8, 12)
gradients = {
    "x + part(x)": [(n, first_gradient(n, "none", ())) for n in depths],
    "part(x)": [(n, first_gradient(n, "none", ("residual",))) for n in depths],
    "part(norm(x))": [(n, first_gradient(n, "rms", ("residual",))) for n in depths],
}
added, replaced, normed = ([g for _, g in points] for points in gradients.values())
each = (replaced[-1] / replaced[1]) ** (1 / (depths[-1] - depths[1]))

# %%
curves(
    "Gradient at the first block",
    gradients,
    x="blocks in the stack",
    y="norm of the gradient",
    log_y=True,
)

# %%
say(f"""
[Without x +](#part-x) each block more multiplies the gradient by about {each:.2g}: twelve deep, {replaced[-1]:.0e} is left{" and nothing would be learned" if replaced[-1] < 1e-3 * added[-1] else ""}.
[With x +](#x-part-x) it is {added[-1]:.2g} twelve deep and {added[0]:.2g} for a single block.
A sum hands the gradient on unchanged, beside whatever the part makes of it, so the way back never closes.

It is often said that this is why Transformers need `x +`. {"Half of it: [norms alone](#part-norm-x) keep the gradient's size, too" if normed[-1] > 0.1 * added[-1] else "It is: [norms alone](#part-norm-x) don't keep the gradient's size"} ({normed[-1]:.2g}). A real block has both.
""")

# %%
flow(
    "One block, for each token: two parts that add to the stream",
    [
        [Box("x", f"{config.d_model} numbers", "", 0)],
        [Box("attention", "reads others", f"4·D² = {4 * 64**2:,}", 1)],
        [Box("feed-forward", "each alone", f"8·D² = {8 * 64**2:,}", 2)],
        [Box("y", f"{config.d_model} numbers", "", 3)],
    ],
    [("x", "attention", ""), ("attention", "feed-forward", "+ x"), ("feed-forward", "y", "+ h")],
)

# %% [markdown]
# ## What is often said wrong
#
# *"It understands grammar now."* Read the samples: it has the rhythm of the text, its indentation and its frequent words. How
# well it does is one number, the bits it needs on text it has not seen; everything else is an impression.
#
# *"Predicting a character is trivial, so a GPT can't know anything."* To need fewer bits it must use whatever helps to
# predict, and what helps is often knowledge.
#
# ## Your turn
#
# Let D be the width of the stream, 64 here. Attention has four matrices of D × D (queries, keys, values, output). The feed-forward part has two,
# D × 4D and 4D × D. This form has no biases. How many parameters has one block?

# %%
parameters = 0  # your turn: how many numbers
counted = sum(p.numel() for p in run.session().model.blocks[0].parameters())
check(
    parameters == counted,
    f"4 · 64² + 2 · 4 · 64² = 12 · 64² = {counted:,}, and the model itself says so.",
    f"Not {parameters:,.0f}. Four times D · D, and twice D · 4D: add them up, with D = 64.",
)

# %% [markdown]
# **Further.** `whence train` trains a model of two million parameters in two minutes, `whence train my.txt` one on your own text.
# `whence experiment parts` takes out one part of the block at a time and trains to see what each buys. In the studio, *Live* shows a run while it
# learns.
