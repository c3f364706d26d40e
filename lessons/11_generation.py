# %% [markdown]
# # 11 · Generation: why this word?
#
# A trained model gives a probability to every character that could come next. Writing is a loop: read, pick one, append it,
# read again. The weights stay as they are; nothing is learned while it writes.
#
# All the art is in the picking.

# %%
import math

import torch

from whence import Data, Recipe, Record, Run, modern_config
from whence.generate import Distribution, Sampling
from whence.lessons import ask, bars, check, reveal, say, scratch, table
from whence.train.losses import cross_entropy
from whence.why import trace

# %% [markdown]
# First a model, as in the last lesson: two layers, trained for a few seconds on the Python language reference.

# %% takes 3 s
recipe = Recipe(
    data=Data(("topics",)),
    model=modern_config(n_layers=2, n_heads=2, d_model=64, context_length=64),
    steps=120,
    batch_size=16,
    record=Record(evaluate_every=120, evaluate_tokens=10_000, sample_every=120, sample_tokens=0),
)
run = Run.create(recipe, scratch() / "lesson")
for _event in run.train():
    pass
model, tokenizer = run.model(), run.tokenizer

# %%
guess = ask(
    "The model always takes the likeliest character. What does the text look like?",
    "The best text that the model can write",
    "It soon repeats itself",
    "Random letters",
)
guess

# %%
prompt = "The value of the "


def write(**settings):
    return run.generate(prompt, max_tokens=120, seed=1, **settings)


def repeats(text):
    """Which share of the stretches of 8 characters has come before in the same text."""
    pieces = [text[i : i + 8] for i in range(len(text) - 7)]
    return 1 - len(set(pieces)) / len(pieces)


texts = {t: write(temperature=t) for t in (0.0, 0.5, 1.0, 2.0)}
repeated = {t: repeats(text) for t, text in texts.items()}
greedy_repeats, usual_repeats = repeated[0.0], repeated[1.0]

# %%
rows = [
    [f"{t:g}", f"{repeated[t]:.0%}", "`" + " ".join(text.split()).replace("`", "'")[:88] + "`"]
    for t, text in texts.items()
]
reveal(
    guess,
    "b" if greedy_repeats > 0.3 else "c" if greedy_repeats < 0.02 else "a",
    f"""{greedy_repeats:.0%} of its stretches of 8 characters have come before in the same text; at temperature 1 it is
{usual_repeats:.0%}. Real text isn't made of the likeliest characters: it is full of small surprises, about as many as a good model expects.

{table(["temperature", "repeated", f"it writes behind '{prompt.strip()}'"], rows)}""",
)

# %% [markdown]
# ## Temperature
#
# The logits are divided by the temperature before the softmax. Below 1 the likely becomes likelier; above 1 the unlikely
# gets its chance; at 0 the likeliest takes all.

# %%
ids = [int(i) for i in tokenizer.encode(prompt)]
context = torch.tensor([ids])
with torch.inference_mode():
    logits = model(context)[0, -1]
at_one = logits.softmax(-1)
likeliest = at_one.argsort(descending=True)[:8].tolist()
names = [repr(tokenizer.decode([i]))[1:-1].replace(" ", "␣") for i in likeliest]
warm = {t: (logits / t).softmax(-1) for t in (0.5, 1.0, 2.0)}
surprise = {t: -(p * p.clamp_min(1e-30).log2()).sum().item() for t, p in warm.items()}

# %%
bars(
    f"Probability of the next character behind '{prompt.strip()} ', at three temperatures",
    {
        f"temperature {t:g}": {n: p[i].item() for n, i in zip(names, likeliest, strict=True)}
        for t, p in warm.items()
    },
)

# %%
say(f"""
The spread of the choice, in bits, is {surprise[0.5]:.2f} at temperature 0.5, {surprise[1.0]:.2f} at 1 and
{surprise[2.0]:.2f} at 2. A fair choice among {tokenizer.vocab_size} characters would be
{math.log2(tokenizer.vocab_size):.2f}.
""")

# %% [markdown]
# ## Filters
#
# Even at temperature 1 the many unlikely characters add up: now and then one of them is drawn, and the model must go on
# from its own mistake. Filters drop them: **top-k** keeps the k likeliest, **top-p** the fewest that add up to p,
# **min-p** those at least a share p as likely as the first. What is kept is divided by its sum, so that it adds up to 1 again.

# %%
rare = at_one[at_one < 0.01].sum().item()
kinds = {"top-k 5": {"top_k": 5}, "top-p 0.9": {"top_p": 0.9}, "min-p 0.1": {"min_p": 0.1}}
kept_rows = []
for name, settings in kinds.items():
    d = Distribution.of(logits, Sampling(**settings), likeliest[0])
    kept = int((d.after > 0).sum())
    kept_rows.append([name, kept, d.before[d.after > 0].sum().item(), d.after[likeliest[0]].item()])
first_before = at_one[likeliest[0]].item()
say(f"""
Characters with less than 1 % each have {rare:.1%} together here. Before any filter the likeliest, `{names[0]}`, has
P = {first_before:.4f}. Afterwards:

{table(["filter", "characters kept", "their P before", f"P of {names[0]} afterwards"], kept_rows)}

The last column isn't what the model believes: it is what it was made to do. A display that mixes the two tells untruths.
""")

# %% [markdown]
# ## Why this one?
#
# The logit of a character is a sum. The residual stream is what the embedding and every part of every block have added to it, and
# the head reads that sum. So the logit can be split among them, exactly; the last norm's denominator is shared by all.

# %%
nexts = torch.tensor([[*ids[1:], likeliest[0]]])


def forward():
    logits = model(context)
    loss = cross_entropy(logits, nexts)
    loss.backward()
    return loss


opened = trace(forward, model=model, tokens=context)
number = opened.number(f"head[0,{len(ids) - 1},{likeliest[0]}]")
attribution = number.attribution("module")
split = {share.label: share.value for share in attribution.shares}
logit, added_up = number.value, sum(split.values()) + attribution.rounding
rival = opened.number(f"head[0,{len(ids) - 1},{likeliest[1]}]").attribution("module")
lead = {
    label: value - next(s.value for s in rival.shares if s.label == label)
    for label, value in split.items()
}
decisive = max(lead, key=lead.__getitem__)

# %%
bars(f"What made the logit of '{names[0]}'", split)

# %%
say(f"""
The logit is {logit:.4f}; the parts and the rounding ({attribution.rounding:.1e}) add up to {added_up:.4f}. But a logit alone decides
nothing. Softmax sees differences, so ask what put `{names[0]}` ahead of `{names[1]}`:

{table(["part", f"{names[0]} minus {names[1]}"], sorted(lead.items(), key=lambda row: -row[1]))}

The most came from *{decisive}*. This says what the sum is made of. What would have happened without that part is another
question: the parts behind it would have read something else.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"Temperature makes the model creative."* It changes the draw, not the model. Every text it can write at 2 it could have
# written at 0.5, at other odds.
#
# *"It chose this word because …"* The last step of a choice is a random number. With the same seed it is drawn again;
# with another seed another word was equally the model's.
#
# ## Your turn
#
# Two characters have the logits 2 and 0. At temperature 1 the first has P = e² / (e² + 1) = 0.881. At which temperature has it 0.731, which is
# e / (e + 1)?

# %%
temperature = 1.0  # your turn: the temperature, 0.1 to 5
p = 1 / (1 + math.exp(-2 / temperature)) if temperature > 0 else 1.0
check(
    abs(p - 1 / (1 + math.exp(-1))) < 0.002,
    f"2 / {temperature:g} = {2 / temperature if temperature else math.inf:g}, and e^1 / (e^1 + 1) = {p:.3f}.",
    f"At temperature {temperature:g} it is {p:.3f}. You want the difference of the logits to be 1: 2 divided by what is 1?",
    bars("P of the two characters", {"logit 2": p, "logit 0": 1 - p}),
)

# %% [markdown]
# **Further.** `whence generate runs/mine "Once upon" --show-probabilities` shows the choice at every step, before and after the
# filters. In the studio, *Prediction* has sliders for all of this.
