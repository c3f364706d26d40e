# %% [markdown]
# # 11 · The Transformer, and a GPT on real text
#
# A GPT does one thing: it reads some text and says how likely each character is to come next. Everything it can do comes from doing
# this well.
#
# It is a stack of **blocks** that are all built alike. Through the stack runs the **residual stream**: one vector for each token. A block
# reads the stream and *adds* to it, twice:
#
# - `h = x + attention(norm(x))`: the tokens read one another (lessons 9 and 10);
# - `y = h + feed_forward(norm(h))`: a small MLP works on each token by itself.
#
# `norm` brings a vector to a standard length. At the end come `logits = head(norm(y))`, and softmax turns them into probabilities.

# %%
import math

import torch

from whence import Data, Recipe, Record, Run, modern_config
from whence.data.baselines import baselines
from whence.lessons import Box, ask, check, curves, flow, reveal, say, scratch, table
from whence.models import build
from whence.train.losses import cross_entropy

# %% [markdown]
# The text is the Python language reference, which comes with every Python: some 470,000 characters of real prose. The last tenth
# is held back. The model never trains on it and is measured on it.

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
The model has {n_parameters:,} **parameters**, which is the usual word for dials; the text has {vocabulary} different characters. Here is what other methods need to write down the
part that is held back, in bits for each byte. (In this text nearly every character is one byte.) Fewer is better:

{table(["", "bits per byte"], list(known.items()))}

*Uniform* is a blind guess. *Unigram* counts characters, *bigram* counts pairs. gzip and xz are programs that compress files;
they remember long stretches of what they have seen.
""")

# %%
guess = ask(
    "The model takes 120 steps, each on 16 pieces of 64 characters. That is a quarter of the text. Which of the others will it have beaten?",
    "None of them",
    "uniform and unigram",
    "uniform, unigram and bigram",
    "uniform, unigram, bigram and gzip",
    "another set",
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
beaten = [name for name in known if measured < known[name]]
knew_nothing = abs(first_loss - math.log(vocabulary)) < 0.001
reveal(
    guess,
    {
        "": "a",
        "uniform unigram": "b",
        "uniform unigram bigram": "c",
        "uniform unigram bigram gzip": "d",
    }.get(" ".join(beaten), "e"),
    f"""On the part it never saw it needs {measured:.3f} bits per byte, so it has beaten {", ".join(beaten) or "none of them"}. Before the
first step it needed {first_loss:.4f} nats for each character, and ln {vocabulary} is {math.log(vocabulary):.4f}: {"all characters were equally likely to it" if knew_nothing else "its first weights prefer some characters, for no reason"}. This is what it wrote along the way:

{table(["step", "it writes"], [[step, "`" + " ".join(text.split()).replace("`", "'")[:90] + "`"] for step, text in samples])}

A model sixteen times as large needs about 1.55 bits after two minutes of `whence train`.""",
)

# %% [markdown]
# ## Why `x +`?
#
# A block could just as well *replace* the vector. Let us stack more and more blocks, without any training, and look at the
# gradient that reaches the first one: with `x +`, without it, and without it but with norms.


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
[Without x +](#part-x) every further block multiplies the gradient by about {each:.2g}. With twelve blocks {replaced[-1]:.0e} is left{", and nothing would be learned" if replaced[-1] < 1e-3 * added[-1] else ""}.
[With x +](#x-part-x) it is {added[-1]:.2g} with twelve blocks and {added[0]:.2g} with one.
A sum passes the gradient on unchanged, in addition to whatever the part makes of it, so the way back never closes.

Is that why Transformers need `x +`? {"Only in part: [norms alone](#part-norm-x) keep the gradient's size, too" if normed[-1] > 0.1 * added[-1] else "Yes: [norms alone](#part-norm-x) don't keep the gradient's size"} ({normed[-1]:.2g}). A real block has both.
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
# *"It doesn't know anything. … Large Language Models are essentially playing a massive, highly complex game of 'guess the next word'"*
# ([The Ultimate Autocomplete](https://sirilahari.com/the-ultimate-autocomplete.html)). A GPT is indeed trained to predict what comes next, and nothing else. But to need
# fewer bits it has to use whatever helps to predict, and what helps is often knowledge. When OpenAI trained a large RNN on Amazon's reviews to
# predict the next character, one of its units came to track whether a review was positive or negative
# ([Radford and others, 2017](https://arxiv.org/abs/1704.01444)). Nobody had asked for that.
#
# Don't claim too much, either. Our model's samples have the rhythm of the text and its frequent words, so it is tempting to say that it knows
# grammar. How well it does is one number: the bits it needs for text it hasn't seen. Everything else is an impression.
#
# ## Your turn
#
# Let D be the width of the stream, 64 here. Attention has four matrices of D × D (for queries, keys, values and the output). The feed-forward part has two,
# D × 4D and 4D × D. There are no biases here. How many parameters does one block have?

# %%
parameters = 0  # your turn: how many numbers
counted = sum(p.numel() for p in run.session().model.blocks[0].parameters())
check(
    parameters == counted,
    f"4 · 64² + 2 · 4 · 64² = 12 · 64² = {counted:,}, and the model itself says so.",
    f"Not {parameters:,.0f}. Four times D · D, plus twice D · 4D: add them up, with D = 64.",
)

# %% [markdown]
# **Further.** `whence train` trains a model of two million parameters in two minutes; `whence train my.txt` trains one on your own text.
# `whence experiment parts` takes out one part of the block at a time, trains again, and shows what each part is good for. In the studio, *Live* shows a run while it
# learns.
