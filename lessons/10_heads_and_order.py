# %% [markdown]
# # 10 · Heads, and the order of words
#
# The model of the last lesson has two layers of two heads. Each head has queries, keys and values of its own. The results of a layer's heads stand
# side by side, and one more matrix mixes them. Does each head have its own job? And how does attention know which word comes first?

# %%
import torch

from whence.experiments.text.words import trained_reader
from whence.lessons import ask, check, curves, grid, reveal, say, table
from whence.models.layers.attention import Attention, attend
from whence.models.layers.positions import SinusoidalPositions
from whence.models.seq2seq.config import EncoderConfig
from whence.models.seq2seq.encoder import Encoder

reader = trained_reader()
parts = [m for m in reader.model.modules() if isinstance(m, Attention)]
accuracy = reader.right()

# %%
guess = ask(
    f"The model finds out what *it* is in {accuracy:.0%} of 100 sentences that it never saw. Now we silence one of its four heads. What happens?",
    "It fails, whichever head we take",
    "With some heads it gets much worse, with others hardly",
    "Nothing, because three others are left",
)
guess

# %% [markdown]
# To silence a head we set to 0 what the mixing matrix takes from it. Then we put its numbers back and go on with the next head.

# %%
width = parts[0].o.weight.shape[1] // 2
without = {}
for i, part in enumerate(parts):
    for h in range(2):
        kept = part.o.weight.detach().clone()
        with torch.no_grad():
            part.o.weight[:, h * width : (h + 1) * width] = 0
            without[f"layer {i + 1}, head {h + 1}"] = reader.right()
            part.o.weight.copy_(kept)
lost = [accuracy - right for right in without.values()]

# %%
reveal(
    guess,
    "a" if min(lost) > 0.05 else "c" if max(lost) <= 0.05 else "b",
    f"""
{table(["silenced", "right"], [["none", f"{accuracy:.0%}"], *([name, f"{right:.0%}"] for name, right in without.items())])}

Don't conclude that a head is idle if nothing gets worse without it. Another one may do the same work.""",
)

# %% [markdown]
# ## Attention is blind to order
#
# Attention adds up what it reads, and a sum doesn't depend on the order. So shuffle the words of the sentence and compare the vector of each word before and after.

# %%
tokens = reader.tokens("the animal did not cross the street because it was too tired")
torch.manual_seed(0)
shuffled = torch.randperm(tokens.shape[1])
moved = {}
for positions in ("none", "sinusoidal"):
    torch.manual_seed(0)
    config = EncoderConfig(dropout=0.0, positions=positions)
    encoder = Encoder(config, len(reader.vocabulary)).eval()
    with torch.inference_mode():
        difference = encoder(tokens)[:, shuffled] - encoder(tokens[:, shuffled])
    moved[positions] = difference.abs().max().item()
no_positions, with_positions = moved["none"], moved["sinusoidal"]
say(f"""
Every word has the very same vector as before. The largest difference is {no_positions:.0e}, which is rounding. To such a model, "dog bites man" and "man bites dog"
are the same. The remedy is to add a vector to each word that depends on its place. Then the largest difference is {with_positions:.1f}.
""")

# %%
waves = SinusoidalPositions()(torch.zeros(1, 24, 16))[0]
curves(
    "Positions as waves: four of the numbers that are added",
    {f"number {i}": [(t, waves[t, i].item()) for t in range(24)] for i in (0, 2, 4, 6)},
    x="place in the sentence",
    y="added",
)

# %% [markdown]
# ## No looking ahead
#
# A model that writes must not read what it is about to write. So each token may look only at itself and at the tokens before it.
# The scores of later tokens are set to −∞ before the softmax, and their weights become 0. This is called a **causal mask**.

# %%
generator = torch.Generator().manual_seed(0)
q, k = (torch.randn(1, 1, 5, 16, generator=generator) for _ in range(2))
masked = attend(q, k, torch.eye(5)[None, None], causal=True)[0, 0]  # with these values, the weights
places = [f"token {t + 1}" for t in range(5)]
grid(
    "A causal mask: weights of random queries and keys",
    places,
    places,
    masked.tolist(),
    across="is read",
    down="reads",
)

# %% [markdown]
# The mask gives away something about order even without positions: the first token sees one token, the fifth sees five.
#
# ## What is often said wrong
#
# *"Individual attention heads clearly learn to perform different tasks"* ([Attention Is All You Need](https://arxiv.org/abs/1706.03762), section 4). Some do, as you
# have seen. But Michel, Levy and Neubig ([2019](https://arxiv.org/abs/1905.10650)) silenced heads of trained models and found that many can be left out, and the model does almost as well.
# "Each head has its job" is a hope, not a law. Measure it.
#
# ## Your turn
#
# A text of 6 tokens goes through a causal mask. Of its 6 · 6 = 36 weights, how many may be other than 0?

# %%
weights = 36  # your turn: how many weights
allowed = int(torch.ones(6, 6).tril().sum())
check(
    weights == allowed,
    f"1 + 2 + 3 + 4 + 5 + 6 = {allowed}.",
    "That would be without a mask. The first token sees only itself."
    if weights == 36
    else f"Not {weights:g}. The first token sees 1, the second 2, and so on: add them up.",
)

# %% [markdown]
# **Further.** `whence experiment order` shows what a model without positions can't do; `whence experiment parts` leaves out one part of a Transformer at a time
# and trains it again. In the studio, *Flow* shows the heads of your own model.
