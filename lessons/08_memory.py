# %% [markdown]
# # 8 · Memory
#
# How far back can a model look? A bigram model knows a single token, the one before. But in "the cat, which had slept all day on the warm
# stones, *was* hungry" the verb has to agree with the cat.
#
# Three kinds of model read further back:
#
# - An **MLP** ("multilayer perceptron": layers of units as in lesson 3) reads the last few tokens side by side, each as a **vector**, a list of numbers.
#   Anything outside its window doesn't exist for it.
# - A **recurrent network** (RNN) reads one token after another and keeps a state, a vector *h*. Each token *x*
#   changes it: `h ← tanh(W·x + U·h + b)`. Here *W* and *U* are tables of weights (**matrices**), so that W·x is a list of weighted sums, and
#   tanh squeezes each of them to between −1 and 1. Nothing limits how far back *h* can reach.
# - An **LSTM** is an RNN with a second state, the cell *c*: `c ← f · c + i · g`. The gates *f* and *i*, numbers between
#   0 and 1, say how much is kept and how much is written.

# %%
import math

import torch

from whence.experiments.common import accuracy, share_interval
from whence.experiments.inside.memory import ASK, GAPS, KINDS, LETTERS, learn_near, recall
from whence.lessons import ask, check, curves, reveal, say
from whence.models import build

# %% [markdown]
# Our task measures memory and nothing else. The model sees a letter, some tokens of noise, and a question mark. Then it must name the
# letter. There are 8 letters, so a guess is right once in 8 times.
#
# During training the letter lies 2 or 4 tokens back, until the model names 95 % of the letters. Only then do we ask about letters
# further back than any it has seen. Something that was never learned can't be forgotten, so first we make sure that it was learned.

# %%
guess = ask(
    "Which of them, once it has learned the near letters, names the most letters that lie 32 tokens back?",
    "The MLP, which sees the last 8 tokens",
    "The RNN",
    "The LSTM",
    "Two of them, as far as 500 letters tell",
)
guess

# %%
kinds = {"MLP": KINDS["mlp, 8 back"], "RNN": KINDS["rnn"], "LSTM": KINDS["lstm"]}
trained, learned_at, course = {}, {}, {}
for name, config in kinds.items():
    torch.manual_seed(0)
    model = trained[name] = build(config, ASK + 1)
    learned_at[name] = learn_near(model, 600)
    course[name] = [
        (gap + 1, accuracy(model, recall(500, gap, torch.Generator().manual_seed(1))))
        for gap in GAPS
    ]
chance = 1 / LETTERS

# %%
curves("Letters named right", course, x="tokens back", y="share", log_x=True, top=1.0)

# %%
near = {name: points[0][1] for name, points in course.items()}
ends = {name: points[-1][1] for name, points in course.items()}
spreads = {name: share_interval(round(500 * end), 500) for name, end in ends.items()}
first, second, _ = sorted(ends, key=ends.__getitem__, reverse=True)
settled = spreads[first] > spreads[second].high


def told(name):
    """What became of the letters that a model had learned to name."""
    at, end = learned_at[name], ends[name]
    start = f"[{name}](#{name.lower()}): {near[name]:.0%} two tokens back, {end:.0%} 32 back"
    if at is None:
        return f"{start}. It hasn't even learned the near letters, so what it misses further back isn't forgotten."
    start += f", learned in {at} steps"
    if spreads[name].low <= chance <= spreads[name].high:
        return f"{start}. That is no better than chance: nothing is left."
    if spreads[name] < near[name] - 0.05:
        return f"{start}. It fades."
    return f"{start}. It keeps them."


reveal(
    guess,
    {"MLP": "a", "RNN": "b", "LSTM": "c"}[first] if settled else "d",
    f"""Chance is {chance:.1%}.

- {told("MLP")} Anything outside its window of 8 doesn't exist for it.
- {told("RNN")}
- {told("LSTM")}

Nothing hides the letter from a recurrent network: its state *could* carry it. These are single runs. Others come out differently, and
`whence experiment memory` shows how much.""",
)

# %% [markdown]
# ## Why far is hard to learn
#
# Couldn't the models be trained on far letters, too? They can, but slowly. To learn, a model must find out that the
# letter mattered. So the gradient (all the slopes together) has to travel from the question mark back to
# the letter, through every token in between. In an RNN each step back multiplies it by the slope of tanh, which is at most
# 1, and by the matrix *U*. Let us measure what arrives before any training.


# %%
gaps = [1, 3, 7, 15]
far = recall(500, gaps[-1], torch.Generator().manual_seed(1))


def gradient_left(config):
    """How large the gradient at the letter is at each distance, compared with the nearest."""
    torch.manual_seed(0)
    model = build(config, ASK + 1)
    torch.nn.init.normal_(model.head.weight)  # it starts at 0, and would let nothing through
    found = []
    for gap in gaps:
        example = recall(64, gap, torch.Generator().manual_seed(0))
        vectors = []
        hook = model.embed.register_forward_hook(lambda _m, _i, out, kept=vectors: kept.append(out))
        score = model(example.inputs)[:, -1].gather(1, example.targets[:, -1:]).sum()
        hook.remove()
        (gradient,) = torch.autograd.grad(score, vectors[0])
        found.append(gradient[:, 0].norm().item())
    return [(gap + 1, norm / found[0]) for gap, norm in zip(gaps, found, strict=True)]


left = {name: gradient_left(kinds[name]) for name in ("RNN", "LSTM")}
rnn_left, lstm_left = left["RNN"][-1][1], left["LSTM"][-1][1]
rnn_factor, lstm_factor = rnn_left ** (1 / 14), lstm_left ** (1 / 14)

# %%
curves(
    "How much of the gradient reaches the letter, before training",
    {f"{name} at the start": points for name, points in left.items()},
    x="tokens back",
    y="share",
    log_y=True,
)


# %%
def gates(model):
    """The mean of the forget gate while the noise is read."""
    layer = model.layers[0]
    tokens = layer.read(model.embed(far.inputs))
    h = c = torch.zeros(len(tokens), model.embed.embedding_dim)
    kept = []
    for t in range(tokens.shape[1]):
        _i, f, _g, _o = (tokens[:, t] + layer.recall(h)).chunk(4, dim=-1)
        kept.append(f.sigmoid())
        h, c = layer.step(tokens[:, t], (h, c))
    return torch.stack(kept[1:-1]).mean().item()


torch.manual_seed(0)
with torch.inference_mode():
    gate_before, gate_after = gates(build(kinds["LSTM"], ASK + 1)), gates(trained["LSTM"])

# %%
gate_told = (
    f"The mean of the gate *f* while the noise is read was {gate_before:.3f} before training and is {gate_after:.3f} now. "
    f"{gate_before:.3f} to the power 15 is {gate_before**15:.3f}; {gate_after:.3f} to the power 15 is {gate_after**15:.2f}. "
    + (
        "Training has opened it, so what the cell holds now lasts longer."
        if gate_after > gate_before + 0.01
        else "Training hasn't opened it here: for two to four tokens it need not."
    )
)
say(f"""
Compared with a letter 2 tokens back, a letter 16 tokens back gets {rnn_left:.1e} of the gradient in
[the RNN](#rnn-at-the-start): each token in between multiplies it by about {rnn_factor:.2f}. In
[the LSTM](#lstm-at-the-start) the factor is about {lstm_factor:.2f}, and {lstm_left:.2g} of it arrives:
{"more" if lstm_left > rnn_left else "no more"} than in the RNN. {gate_told}

The gate's bias starts at 1 here, so that *f* starts near σ(1) = {1 / (1 + math.exp(-1)):.3f} rather than ½. (σ is the sigmoid.) Somebody
chose that, and it matters.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"In theory, RNNs are absolutely capable of handling such 'long-term dependencies.' … Sadly, in practice, RNNs don't seem to be able to learn them."* And of
# LSTMs: *"Remembering information for long periods of time is practically their default behavior, not something they struggle to learn!"* Both are from
# the best-known introduction, Christopher Olah's [Understanding LSTM Networks](https://colah.github.io/posts/2015-08-Understanding-LSTMs/), and often repeated.
# You have measured something subtler. The RNN remembered a good part even at distances it had never been trained on. And before
# training the LSTM's cell fades as well: it must learn to keep things. Its gates make that easy.
#
# Both share another drawback: tokens are read one after another. Attention, in the next lesson, reaches
# every token in one step.
#
# ## Your turn
#
# Each token in between multiplies the RNN's gradient by about the same factor. After how many such multiplications is less
# than a hundredth left?

# %%
tokens = 1  # your turn: how many tokens
needed = math.ceil(math.log(0.01) / math.log(rnn_factor))
check(
    tokens == needed,
    f"{rnn_factor:.3f} to the power {needed} is {rnn_factor**needed:.4f}; one token fewer leaves "
    f"{rnn_factor ** (needed - 1):.4f}.",
    f"{rnn_factor:.3f} to the power {tokens:g} is {rnn_factor**tokens:.4f}. You want the first power below 0.01: take "
    + ("more." if tokens < needed else "fewer."),
)

# %% [markdown]
# **Further.** `whence experiment memory` asks more models the same question, over several seeds.
# `whence train my.txt --model lstm` trains one on your own text, and `whence ladder my.txt` puts every kind of model into
# one table.
