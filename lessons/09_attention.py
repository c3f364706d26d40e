# %% [markdown]
# # 9 · Attention, step by step
#
# "The animal did not cross the street because **it** was too tired." What is *it*? You know at once. If the last word
# were *wide*, you would read the same *it* otherwise.
#
# An RNN has to carry all words in one state until it meets *it*. Attention goes the other way round: the token *it* looks at
# all the words, itself included, and takes from each as much as it likes. Every token does so, at the same time.
#
# Each token makes three vectors from its own, with three matrices that are learned:
#
# - a **query** *q*: what am I looking for?
# - a **key** *k*: what have I got to offer?
# - a **value** *v*: what will I hand over, if chosen?

# %%
import math
import random

import torch

from whence.experiments.common import Example, learn
from whence.experiments.words import encoder_weights, it_sentences, small_reader
from whence.lessons import ask, bars, check, curves, grid, reveal, say, table
from whence.models.layers.attention import Attention, attend, split_heads
from whence.models.layers.positions import SinusoidalPositions
from whence.models.seq2seq.config import EncoderConfig
from whence.models.seq2seq.encoder import Encoder
from whence.train.optimizers import AdamWConfig

# %% [markdown]
# A small encoder, two layers of two heads, is trained on 412 sentences of this kind, and told each time what *it*
# stands for. The sentence above is not among them.

# %%
guess = ask(
    "In the trained model, which word will a head look at hardest from *it*?",
    "animal",
    "street",
    "tired",
    "it, itself",
)
guess

# %%
text = "the animal did not cross the street because it was too tired"
sentence = text.split(" ")
made = it_sentences()
random.Random(0).shuffle(made)
made.sort(key=lambda pair: {"animal", "street"} <= set(pair[0]), reverse=True)  # these come first
vocabulary = sorted({word for words, _ in made for word in words})
ids = {word: i for i, word in enumerate(vocabulary)}
every = torch.tensor([[ids[word] for word in words] for words, _ in made])
answers = torch.tensor([ids[answer] for _, answer in made])
at = sentence.index("it")
held, known = every[:100], every[100:]
targets = torch.full_like(every, -100)  # only the answer at "it" counts
targets[:, at] = answers


def draw(generator):
    rows = 100 + torch.randint(len(known), (64,), generator=generator)
    return Example(every[rows], targets[rows])


torch.manual_seed(0)
model = small_reader(len(vocabulary))
for _step, _loss in learn(model, draw, 150, optimizer=AdamWConfig(learning_rate=0.01)):
    pass


@torch.inference_mode()
def right():
    """How often the model names what "it" stands for, in sentences it never saw."""
    return (model(held)[:, at].argmax(-1) == answers[:100]).float().mean().item()


accuracy = right()
tokens = torch.tensor([[ids[word] for word in sentence]])
maps = encoder_weights(model, tokens)  # for each layer [1, heads, reader, read]
peaks = {(i, h): maps[i][0, h, at].max().item() for i in range(2) for h in range(2)}
layer, head = max(peaks, key=peaks.__getitem__)
weights = maps[layer][0, head]

# %%
grid(
    f"Who reads whom: layer {layer + 1}, head {head + 1}",
    [f"{word} " if word == "the" and i else word for i, word in enumerate(sentence)],
    sentence,
    weights.tolist(),
    across="is read",
    down="reads",
)

# %%
other = [*sentence[:-1], "wide"]
other_tokens = torch.tensor([[ids[word] for word in other]])
other_maps = encoder_weights(model, other_tokens)


def hardest(words, attention):
    """The word that "it" looks at hardest, and how hard."""
    place = int(attention.argmax())
    return f"{words[place]} {attention[place].item():.2f}"


looks = [
    [
        f"layer {i + 1}, head {h + 1}",
        hardest(sentence, maps[i][0, h, at]),
        hardest(other, other_maps[i][0, h, at]),
    ]
    for i in range(2)
    for h in range(2)
]
with torch.inference_mode():
    says, says_other = (vocabulary[model(t)[0, at].argmax()] for t in (tokens, other_tokens))
chosen = sentence[int(weights[at].argmax())]
steady = hardest(other, other_maps[layer][0, head, at]).split()[0] == chosen
outcome = (
    "It has not learned to tell what *it* stands for, so what its heads look at explains nothing."
    if accuracy < 0.8
    else "So the answer comes from what several heads fetched, put together afterwards."
    if steady
    else "What this head reads goes with the answer; it may still not be all of the reason."
)
reveal(
    guess,
    {"animal": "a", "street": "b", "it": "d"}.get(chosen, "c"),
    f"""The picture's head looks from *it* at *{chosen}*, with {weights[at].max().item():.0%} of its attention. Did it find out
what *it* means? Put *wide* in the place of *tired* and look again:

{table(["from it", "… too tired", "… too wide"], looks)}

{"The head looks at the same word, whatever stands at the end." if steady else "The head looks elsewhere now."} The model
answers *{says}* for the one and *{says_other}* for the other sentence ({accuracy:.0%} right on 100 that it never saw). {outcome} Attention shows what was read, not what was concluded.""",
)

# %% [markdown]
# ## The arithmetic, with the model's own numbers
#
# For the token *it* in that head: the query of *it* times the key of each word is that word's **score**. The score is divided by
# √d, where d is the length of these vectors. Softmax turns the scores into weights that add up to 1: raise e to the power
# of each, divide by the sum. Last, the values are added up, each times its weight.

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
powers = (scores - scores.max()).exp()
shares = powers / powers.sum()
mixed = shares @ v
whole = attend(q[None, None], k[None, None], v[None, None], causal=False)[0, 0, at]
apart = (mixed - whole).abs().max().item()
rows = [
    [word, products[i].item(), scores[i].item(), powers[i].item(), f"{shares[i].item():.3g}"]
    for i, word in enumerate(sentence)
]
say(f"""
{table(["word", "q · k", f"÷ √{d}", "e^(score − largest)", "weight"], rows)}

The weights add up to {shares.sum().item():.6f}. The largest score is taken off each before e is raised to it: the
weights stay the same, and no number grows too large to be held. The library's own attention gives the same vector; the largest difference is
{apart:.0e}.
""")

# %% [markdown]
# ## Why divide by √d?
#
# A product of two vectors of d random numbers is a sum of d terms, so it grows like √d. Softmax of large scores puts
# nearly all weight on one word, and its gradient is then nearly 0: little can be learned. Dividing keeps the scores
# near 1 whatever the length.

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
From d = 4 to d = 1024 the spread of the products grows by a factor of {growth:.1f}; √(1024/4) is 16. Without the division
[the largest weight](#not-divided) goes to {peaked[-1][1]:.2f}: one word takes all, by chance. [Divided](#divided-by-d), it
stays near {divided[-1][1]:.2f}. Many explanations of attention leave the √d out. Without it, the matrices of longer vectors would have
to start smaller to have the same effect.
""")

# %% [markdown]
# ## Several heads, and positions
#
# A layer has several heads, each with queries, keys and values of its own; their results stand side by side and one
# more matrix mixes them. It is said that heads specialise. Let us silence each head of the trained model in turn, and count
# what is still right.

# %%
without = []
for i, part in enumerate(parts):
    for h in range(2):
        kept = part.o.weight.detach().clone()
        with torch.no_grad():
            part.o.weight[:, h * d : (h + 1) * d] = 0
            without.append([f"layer {i + 1}, head {h + 1}", f"{right():.0%}"])
            part.o.weight.copy_(kept)
torch.manual_seed(0)
shuffled = torch.randperm(len(sentence))
moved = {}
for positions in ("none", "sinusoidal"):
    torch.manual_seed(0)
    reader = Encoder(EncoderConfig(dropout=0.0, positions=positions), len(vocabulary)).eval()
    with torch.inference_mode():
        difference = reader(tokens)[:, shuffled] - reader(tokens[:, shuffled])
    moved[positions] = difference.abs().max().item()
waves = SinusoidalPositions()(torch.zeros(1, 24, 16))[0]
no_positions, with_positions = moved["none"], moved["sinusoidal"]
say(f"""
{table(["silenced", "right"], [["none", f"{accuracy:.0%}"], *without])}

A head whose loss costs nothing isn't idle for certain: another may do the same work. "Each head has its job" is a
hope, not a law; measure it.

And attention has a blind spot. It adds up what it reads, and a sum doesn't know an order. Shuffle the words of the
sentence: without positions every word gets the very same vector as before ({no_positions:.0e} is the largest
difference, rounding). "Dog bites man" and "man bites dog" would be one. So a vector that depends on the place is added
to each word; then the largest difference is {with_positions:.1f}.
""")

# %%
curves(
    "Positions as waves: four of the numbers that are added",
    {f"number {i}": [(t, waves[t, i].item()) for t in range(24)] for i in (0, 2, 4, 6)},
    x="place in the sentence",
    y="added",
)

# %% [markdown]
# A model that writes must not read what it is about to write, so each token may look only at itself and at those before it:
# the scores of later words are set to −∞ ahead of the softmax, and their weights are 0. That is a *causal* mask. It tells something
# about order even without positions: the first token sees one word, the tenth sees ten.
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
# **Further.** `whence experiment it` asks the question over several seeds, `whence experiment order` shows what a model without
# positions can't do, `whence experiment senses` looks at a word with two meanings. In the studio, *Flow* opens the attention of your
# own model, head by head, down to every product.
