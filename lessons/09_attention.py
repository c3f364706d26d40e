# %% [markdown]
# # 9 · Attention, step by step
#
# "The animal did not cross the street because **it** was too tired." What is *it*? You know at once. If the last word
# were *wide*, you would read the same *it* differently.
#
# An RNN has to carry all the words in one state until it meets *it*. Attention needn't: the token *it* looks at
# all the words, including itself, and takes as much from each as it likes. Every token does this at the same time.
#
# Each token turns its own vector into three others, with three matrices that are learned:
#
# - a **query** *q*: what am I looking for?
# - a **key** *k*: what do I have to offer?
# - a **value** *v*: what will I hand over if I am chosen?

# %%
import math

import torch

from whence.experiments.text.words import encoder_weights, trained_reader
from whence.lessons import ask, bars, check, curves, grid, passing, reveal, say, table
from whence.models.layers.attention import Attention, attend, split_heads

# %% [markdown]
# We train a small model on 412 sentences of this kind and tell it each time what *it* stands for. Attention happens in two layers,
# one after the other, and in each of them twice, side by side: every layer has two **heads**. The sentence above isn't among the 412.

# %%
guess = ask(
    "In the trained model, which word will a head look at the most from *it*?",
    "animal",
    "street",
    "tired",
    "it, itself",
    "another word",
)
guess

# %%
tired = "the animal did not cross the street because it was too tired"
wide = "the animal did not cross the street because it was too wide"
reader = trained_reader()
model, at = reader.model, reader.at
sentence = tired.split()
tokens = reader.tokens(tired)
maps = encoder_weights(model, tokens)  # for each layer [1, heads, who reads, what is read]
peaks = {(i, h): maps[i][0, h, at].max().item() for i in range(2) for h in range(2)}
layer, head = max(peaks, key=peaks.__getitem__)
weights = maps[layer][0, head]

# %%
grid(
    f"Who reads what: layer {layer + 1}, head {head + 1}",
    [f"{word} " if word == "the" and i else word for i, word in enumerate(sentence)],
    sentence,
    weights.tolist(),
    across="is read",
    down="reads",
)

# %%
other_maps = encoder_weights(model, reader.tokens(wide))


def most(words, attention):
    """The word that "it" looks at the most, and how much."""
    place = int(attention.argmax())
    return f"{words[place]}, {attention[place].item():.0%}"


looks = [
    [
        f"layer {i + 1}, head {h + 1}",
        most(sentence, maps[i][0, h, at]),
        most(wide.split(), other_maps[i][0, h, at]),
    ]
    for i in range(2)
    for h in range(2)
]
accuracy = reader.right()
chosen = sentence[int(weights[at].argmax())]
steady = wide.split()[int(other_maps[layer][0, head, at].argmax())] == chosen

# %%
outcome = (
    "It hasn't learned to tell what *it* stands for, so what its heads look at explains nothing."
    if accuracy < 0.8
    else "So the answer comes from what several heads fetched, put together afterwards."
    if steady
    else "What this head reads goes with the answer; it may still not be the whole reason."
)
reveal(
    guess,
    {"animal": "a", "street": "b", "tired": "c", "it": "d"}.get(chosen, "e"),
    f"""From *it*, the head in the picture gives {weights[at].max().item():.0%} of its attention to *{chosen}*. Did it find out
what *it* means? Put *wide* in the place of *tired* and look again:

{table(["from it", "… too tired", "… too wide"], looks)}

{"The head looks at the same word, whatever stands at the end." if steady else "The head looks elsewhere now."} The model answers *{reader.says(tired)}* for the first sentence and *{reader.says(wide)}* for the second. On 100 sentences that it never saw,
{accuracy:.0%} of its answers are right. {outcome}""",
)

# %% [markdown]
# ## The arithmetic, with the model's own numbers
#
# Take the token *it* in that head. The query of *it* times the key of a word is that word's **score**. (To multiply two vectors, multiply the first
# numbers, the second numbers and so on, and add it all up.) The score is divided by √d, where d says how many numbers these vectors have. Softmax (lesson 6) turns the scores into weights that add up to 1. Last,
# each value is multiplied by its weight, and everything is added up.

# %%
parts = [m for m in model.modules() if isinstance(m, Attention)]
entered = []
hook = parts[layer].register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
with torch.inference_mode():
    model(tokens)
    hook.remove()
    x = entered[0]  # what enters this layer's attention, [1, T, D]
    q, k, v = (
        split_heads(linear(x), 2)[0, head]
        for linear in (parts[layer].q, parts[layer].k, parts[layer].v)
    )
d = q.shape[-1]
products = q[at] @ k.T
scores = products / math.sqrt(d)
shares = scores.softmax(-1)
mixed = shares @ v
whole = attend(q[None, None], k[None, None], v[None, None], causal=False)[0, 0, at]
apart = (mixed - whole).abs().max().item()
rows = [
    [word, f"{products[i]:.2f}", f"{scores[i]:.2f}", f"{shares[i]:.2%}"]
    for i, word in enumerate(sentence)
]
say(f"""
{table(["word", "q · k", f"divided by √{d}", "weight"], rows)}

The weights add up to {shares.sum().item():.6f}. PyTorch's own attention gives the same vector. The largest difference is
{apart:.0e}, which is rounding.
""")

# %%
passing(
    "How “it” reads the sentence",
    sentence,
    at,
    products.tolist(),
    math.sqrt(d),
    shares.tolist(),
    mixed.tolist(),
)

# %% [markdown]
# ## Why divide by √d?
#
# The product of two vectors of d random numbers is a sum of d terms, so its size grows like √d. Softmax of large scores puts
# nearly all the weight on one word. Its gradient is then nearly 0, and little can be learned. The division keeps the scores
# near 1, however long the vectors are.

# %%
generator = torch.Generator().manual_seed(0)
spread, peaked, divided = [], [], []
for size in (4, 16, 64, 256, 1024):
    a, b = (
        torch.randn(400, 1, size, generator=generator),
        torch.randn(400, 8, size, generator=generator),
    )
    product = (a * b).sum(-1)
    spread.append((size, product.std().item()))
    peaked.append((size, product.softmax(-1).amax(-1).mean().item()))
    divided.append((size, (product / math.sqrt(size)).softmax(-1).amax(-1).mean().item()))
growth = spread[-1][1] / spread[0][1]

# %%
curves(
    "The largest of 8 weights, for random queries and keys",
    {"not divided": peaked, "divided by √d": divided},
    x="d, the length of the vectors",
    y="weight",
    log_x=True,
    top=1.0,
)

# %%
say(f"""
From d = 4 to d = 1024 the products spread out {growth:.1f} times as far; √(1024/4) is 16. Without the division
[the largest weight](#not-divided) goes from {peaked[0][1]:.2f} to {peaked[-1][1]:.2f}{": one word takes everything, by chance" if peaked[-1][1] > 0.9 else ""}. [With it](#divided-by-d), the
largest weight goes from {divided[0][1]:.2f} to {divided[-1][1]:.2f}.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"When the model is processing the word 'it', self-attention allows it to associate 'it' with 'animal'."* This is from the best-known explanation,
# Jay Alammar's [The Illustrated Transformer](https://jalammar.github.io/illustrated-transformer/), and shown with the picture of one head. Look at your table
# again: each head looks at something else, some of them at words that answer nothing. The model's answer is put together from all of them. Jain and Wallace
# ([2019](https://arxiv.org/abs/1902.10186)) found, for RNNs with attention, that very different attention can lead to the same answer. Wiegreffe and Pinter
# ([2019](https://arxiv.org/abs/1908.04626)) replied that this depends on what you call an explanation.
# Attention shows what was read. Whether that was the reason is another question, and has to be tested.
#
# ## Your turn
#
# Three words have the scores *s*, 0 and 0 (already divided). For which *s* does the first word get between 90 % and 95 % of
# the attention?

# %%
s = 1.0  # your turn: the score of the first word, 0 to 6
share = math.exp(min(s, 500)) / (math.exp(min(s, 500)) + 2)
check(
    0.9 <= share <= 0.95,
    f"e^{s:g} / (e^{s:g} + 1 + 1) = {share:.3f}. The first score that does it is ln 18 = {math.log(18):.3f}.",
    f"e^{s:g} / (e^{s:g} + 1 + 1) = {share:.3f}: "
    + ("make s larger." if share < 0.9 else "make s smaller."),
    bars("Attention", {"first": share, "second": (1 - share) / 2, "third": (1 - share) / 2}),
)

# %% [markdown]
# **Further.** `whence experiment it` asks what *it* reads, over several seeds; `whence experiment senses` looks at a word with two meanings.
# In the studio, *Flow* opens the attention of your own model, head by head, down to every product.
