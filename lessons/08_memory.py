# %% [markdown]
# # 8 · Memory
#
# How far back can a model look? A bigram knows one token. But in "the cat, which had slept all day on the warm
# stones, *was* hungry" the verb must fit the cat.
#
# Three models that read further:
#
# - An **MLP** reads the last few tokens, each as a vector, side by side. What lies outside its window is not there.
# - A **recurrent network** (RNN) reads one token after another and keeps a state, a vector *h*. Each token *x*
#   changes it: `h ← tanh(W·x + U·h + b)`. Nothing limits how far back *h* can reach.
# - An **LSTM** is an RNN with a second state, the cell *c*: `c ← f · c + i · g`. The gates *f* and *i*, numbers between
#   0 and 1, say how much is kept and how much is written.

# %%
import math

import torch

from whence.experiments.common import accuracy, learn
from whence.experiments.memory import ASK, LETTERS, recall
from whence.lessons import ask, check, curves, reveal, say
from whence.models import LSTMConfig, MLPConfig, RNNConfig, build

# %% [markdown]
# The task measures memory and nothing else. A letter, some tokens of noise, a question mark: the model must say the
# letter. There are 8 letters, so a guess is right once in 8 times.

# %%
guess = ask(
    "In training the noise is 1, 3, 7 or 15 tokens long. Who is first to name a letter that lies 16 tokens back in "
    "nine cases of ten?",
    "The MLP, which sees the last 8 tokens",
    "The RNN",
    "The LSTM",
    "None of them, in 200 steps",
)
guess

# %%
gaps = [1, 3, 7, 15]
window = max(gaps) + 2
kinds = {
    "MLP": MLPConfig(n_previous=8, d_model=16, d_ff=64, context_length=window),
    "RNN": RNNConfig(d_model=48, context_length=window),
    "LSTM": LSTMConfig(d_model=48, context_length=window),
}


def draw(generator):
    gap = gaps[int(torch.randint(len(gaps), (1,), generator=generator))]
    return recall(64, gap, generator)


far = recall(500, 15, torch.Generator().manual_seed(1))
near = recall(500, 1, torch.Generator().manual_seed(1))
trained, course = {}, {}
for name, config in kinds.items():
    torch.manual_seed(0)
    model = trained[name] = build(config, ASK + 1)
    course[name] = [(0, accuracy(model, far))]
    for step, _loss in learn(model, draw, 200):
        if step % 20 == 19:
            course[name].append((step + 1, accuracy(model, far)))
chance = 1 / LETTERS

# %%
curves("Letters named right, 16 tokens back", course, x="step", y="share", top=1.0)

# %%
ends = {name: points[-1][1] for name, points in course.items()}
firsts = {n: next((s for s, share in course[n] if share > 0.9), math.inf) for n in course}
first = min(firsts, key=firsts.__getitem__)
mlp_near = accuracy(trained["MLP"], near)
reveal(
    guess,
    {"MLP": "a", "RNN": "b", "LSTM": "c"}[first] if firsts[first] < math.inf else "d",
    f"""After 200 steps [the MLP](#mlp) is right in {ends["MLP"]:.0%} of the cases, [the RNN](#rnn) in {ends["RNN"]:.0%}
and [the LSTM](#lstm) in {ends["LSTM"]:.0%}; chance is {chance:.1%}. The MLP could not do it: the letter is not in its
window (2 tokens back it names {mlp_near:.0%}). Nothing hides the letter from the RNN. Its state *could* carry it. It has
not learned to, yet.""",
)

# %% [markdown]
# ## Why the RNN is late
#
# To learn, the model must be told that the letter mattered. So the gradient has to travel from the question mark back to
# the letter, through every token between. In an RNN each step back multiplies it by the slope of tanh, which is at most
# 1, and by the matrix *U*. Let us measure what arrives, before any training.


# %%
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
    "Gradient that reaches the letter, before training",
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
say(f"""
Compared with a letter 2 tokens back, one 16 tokens back gets {rnn_left:.1e} of the gradient in
[the RNN](#rnn-at-the-start): each token between multiplies it by about {rnn_factor:.2f}. In
[the LSTM](#lstm-at-the-start) the factor is about {lstm_factor:.2f}, and {lstm_left:.1e} arrives. That is little, but
enough to begin with. Then training opens the gate: the mean of *f* over the noise was {gate_before:.3f} before and is
{gate_after:.3f} now. {gate_before:.3f} to the power 15 is {gate_before**15:.3f}; {gate_after:.3f} to the power 15 is
{gate_after**15:.2f}. What the cell holds now lasts.

The gate's bias starts at 1 here, so that *f* starts near σ(1) = {1 / (1 + math.exp(-1)):.3f} rather than ½. That is a
choice that somebody made, and it matters.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"An RNN forgets what was long ago."* The truth is subtler. Its state could carry a letter over any distance. It learns
# to do so slowly, because hardly any gradient arrives from far away. With 1,200 steps in place of 200 this RNN names every
# letter: change the number above and see.
#
# *"An LSTM remembers."* Only once it has learned to. At the start its cell fades as well; the gates make it easy to mend.
#
# There is a second price, which both pay: tokens are read one after another. Attention, in the next lesson, reaches
# every token in one step, all at once.
#
# ## Your turn
#
# Each token between multiplies the RNN's gradient by about the same factor. After how many such multiplications is less
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
# **Further.** `whence experiment memory` puts this question to more models, over several seeds.
# `whence train my.txt --model lstm` trains one on your own text, and `whence ladder my.txt` puts every kind of model in
# one table.
