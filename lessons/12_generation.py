# %% [markdown]
# # 12 · Generation: why this word?
#
# A trained model gives every character a probability of coming next. Writing is a loop: read, pick a character, append it,
# read again. The weights stay as they are. Nothing is learned while the model writes.
#
# The art is in the picking.

# %%
import math

import torch

from whence import Data, Recipe, Record, Run, modern_config
from whence.generate import Distribution, Sampling
from whence.lessons import ask, bars, check, reveal, say, scratch, table
from whence.train.losses import cross_entropy
from whence.why import trace

# %%
guess = ask(
    "Suppose we always take the likeliest character. What will the text look like?",
    "It repeats itself less than text that is drawn by chance",
    "It repeats itself more",
    "There is hardly a difference",
)
guess

# %% [markdown]
# To find out we need a model, as in the last lesson: two layers, trained for a few seconds on the Python language reference.

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
prompt = "The value of the "


def write(**settings):
    return run.generate(prompt, max_tokens=120, seed=1, **settings)


def repeats(text):
    """What share of the pieces of 8 characters has come before in the same text."""
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
    "b"
    if greedy_repeats > usual_repeats + 0.1
    else "a"
    if greedy_repeats < usual_repeats - 0.1
    else "c",
    f"""{greedy_repeats:.0%} of its pieces of 8 characters had come before in the same text. At temperature 1 it is
{usual_repeats:.0%}. {"The likeliest character leads back to where it has been. " if greedy_repeats > usual_repeats + 0.1 else "This model doesn't show it well; train it longer. "}Real text isn't made of the likeliest characters. It is full of small surprises, about as many as a good model expects.

{table(["temperature", "repeated", f"what it writes after '{prompt.strip()}'"], rows)}""",
)

# %% [markdown]
# ## Temperature
#
# The logits are divided by the temperature before the softmax. Below 1, what is likely becomes likelier. Above 1, what is unlikely
# gets a chance. At 0 the likeliest takes all.

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
    f"Probability of the next character after '{prompt.strip()} ', at three temperatures",
    {
        f"temperature {t:g}": {n: p[i].item() for n, i in zip(names, likeliest, strict=True)}
        for t, p in warm.items()
    },
)

# %%
say(f"""
How open is the choice? In bits it is {surprise[0.5]:.2f} at temperature 0.5, {surprise[1.0]:.2f} at 1 and
{surprise[2.0]:.2f} at 2. A fair choice among all {tokenizer.vocab_size} characters would be
{math.log2(tokenizer.vocab_size):.2f} bits.
""")

# %% [markdown]
# ## Filters
#
# Even at temperature 1 the many unlikely characters add up. Now and then one of them is drawn, and the model has to go on
# from its own mistake. Filters remove them. **Top-k** keeps the k likeliest characters, **top-p** the fewest that add up to p, and
# **min-p** those that are at least p times as likely as the first. The rest is divided by its sum, so that it adds up to 1 again.

# %%
rare = at_one[at_one < 0.01].sum().item()
kinds = {"top-k 5": {"top_k": 5}, "top-p 0.7": {"top_p": 0.7}, "min-p 0.1": {"min_p": 0.1}}
kept_rows = []
for name, settings in kinds.items():
    d = Distribution.of(logits, Sampling(**settings), likeliest[0])
    kept = int((d.after > 0).sum())
    kept_rows.append([name, kept, d.before[d.after > 0].sum().item(), d.after[likeliest[0]].item()])
first_before = at_one[likeliest[0]].item()
say(f"""
The characters with less than 1 % each add up to {rare:.1%} here. Before any filter the likeliest one, `{names[0]}`, has
P = {first_before:.4f}. After a filter:

{table(["filter", "characters kept", "their P before", f"P of {names[0]} after"], kept_rows)}

The last column isn't what the model believes. It is what the filter made of it. A display should never mix up the two.
""")

# %% [markdown]
# ## Why this one?
#
# The logit of a character is a sum. The residual stream is whatever the embedding (the vector that a token starts with) and every part of every block have added to it, and
# the last matrix turns that sum into logits. So the logit can be split up among them exactly.

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
The logit is {logit:.4f}; the parts and the rounding ({attribution.rounding:.1e}) add up to {added_up:.4f}. But a single logit decides
nothing. Softmax looks at differences, so ask what put `{names[0]}` ahead of `{names[1]}`:

{table(["part", f"{names[0]} minus {names[1]}"], [[part, f"{value:.4f}"] for part, value in sorted(lead.items(), key=lambda row: -row[1])])}

Most of the lead came from *{decisive}*. (`attn.o` is what a block's attention adds, `mlp.down` what its feed-forward part adds, `embed` the embedding; blocks are counted from 0.) This says what the sum is made of. What would have happened without that part is another
question, because the parts after it would have read something else.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"It controls something quite different: Creativity"* ([a page that explains the temperature](https://www.metriccoders.com/post/what-is-the-temperature-parameter-in-language-models-and-how-to-set-it)).
# So many people say this that Peeperkorn and others ([2024](https://arxiv.org/abs/2405.00492)) tested it. In the stories that their model wrote, a higher temperature went with only a little
# more that was new, and with more that made no sense. The temperature changes the draw, not the model. Every text that it can write at 2 it could have
# written at 0.5, with other odds.
#
# And be careful with "it chose this word because …". If you draw, the last step of every choice is a random number. With another seed,
# another word would have been just as much the model's own.
#
# ## Your turn
#
# Two characters have the logits 2 and 0. At temperature 1 the first one has P = e² / (e² + 1) = 0.881. At which temperature does it have P = 0.731, which is
# e / (e + 1)?

# %%
temperature = 1.0  # your turn: the temperature, 0.1 to 5
p = 1 / (1 + math.exp(-2 / temperature)) if temperature > 0 else 1.0
check(
    abs(p - 1 / (1 + math.exp(-1))) < 0.002,
    f"2 / {temperature:g} = {2 / temperature if temperature else math.inf:g}, and e^1 / (e^1 + 1) = {p:.3f}.",
    f"At temperature {temperature:g} it is {p:.3f}. The difference of the logits should become 1: 2 divided by what is 1?",
    bars("P of the two characters", {"logit 2": p, "logit 0": 1 - p}),
)

# %% [markdown]
# **Further.** `whence generate runs/mine "Once upon" --show-probabilities` shows the choice at every step, before and after the
# filters. In the studio, *Prediction* has sliders for all of this.
