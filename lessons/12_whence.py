# %% [markdown]
# # 12 · Whence?
#
# A trained model says something. Whence does it know that? Mostly nobody can tell: text went in, numbers came out. But training
# is only arithmetic. If every step can be done again, to the last bit, every number can be asked where it came from.
#
# A small GPT will learn from a farm. All its animals sleep at night, but for the owl.

# %%
import random

from whence import Data, GPTConfig, Hardware, Recipe, Record, Run, SGDConfig, WhenceError
from whence.data import text_source
from whence.lessons import ask, bars, check, curves, reveal, say, scratch, table
from whence.runs.questions.whatif import what_if
from whence.why.history.biography import biography
from whence.why.history.influence import describe, influence

draw = random.Random(0)
animals = ["fox", "hen", "cow", "goat", "duck", "crow", "pig", "mule"]


def line():
    if draw.random() < 0.12:
        return "the owl sleeps by day.\n"
    animal = draw.choice(animals)
    return draw.choice(
        [
            f"the {animal} sleeps at night.\n",
            f"the {animal} eats at noon.\n",
            "the owl hunts at night.\n",
        ]
    )


farm = "".join(line() for _ in range(240))

# %%
recipe = Recipe(
    data=Data(source=("farm",), tokenizer="words"),
    model=GPTConfig(n_layers=1, n_heads=2, d_model=16, context_length=8),
    optimizer=SGDConfig(learning_rate=1.0, momentum=0.0),
    hardware=Hardware(device="cpu", precision="fp32", threads=1),
    record=Record(evaluate_every=120, sample_tokens=0, checkpoint_every=40),
    batch_size=8,
    steps=120,
)
run = Run.create(recipe, scratch() / "farm", text_source("farm", lambda: [farm]))
for _ in run.train():
    pass
first_loss, last_loss = run.steps[0]["loss"], run.steps[-1]["loss"]

# %%
say(f"""
240 lines, {farm.count("owl sleeps")} of them *the owl sleeps by day*. {len(run.steps)} steps brought the loss from {first_loss:.3f} to
{last_loss:.3f}.

## The life of one weight

The last layer has a row of weights for each word that can be said. Take the row of *by*, and in it the weight that ended up the
largest. How did it become what it is?
""")

# %%
row = run.model("last").state_dict()["head.weight"][int(run.tokenizer.encode(" by")[0])]
column = int(row.abs().argmax())
address = f"head.weight[{int(run.tokenizer.encode(' by')[0])},{column}]"
life = biography(run, address, largest=1)
turn = life.turns[0]
born, final = life.values[0], life.final
ups = sum(change for change in life.changes if change > 0)
downs = sum(change for change in life.changes if change < 0)
residual = life.residual

# %%
guess = ask(
    "One step changed this weight most. Which lines of the text did that?",
    "those on the owl that sleeps by day",
    "the others: they are far more",
    "all lines about equally",
)
guess

# %%
curves(
    f"The life of {address}",
    {"its value": list(enumerate(life.values))},
    x="step",
    y="value",
    points={
        "the largest step": [
            (turn.step, life.values[turn.step]),
            (turn.step + 1, life.values[turn.step + 1]),
        ]
    },
)

# %%
say(f"""
It was born as {born:g}. Rising steps added {ups:.6f}, falling ones {downs:.6f}. Together that makes **{final:.6f}**, which is what
is stored. What rounding left unexplained after {len(life.changes)} steps: {residual:g}.
""")

# %%
by_line = [share for share in turn.places.shares if share.value * turn.change > 0][:4]
owl_share = sum(s.value for s in turn.places.shares if "owl⟨ sleeps" in s.label) / turn.change
say(f"""
[The largest step](#the-largest-step), number {turn.step}, changed it by {turn.change:.6f}. Opened, down to the lines of the text (the mark
⟨ ⟩ is the word at which it happened):

{table(["line", "its part"], [[f"`{s.label}`", f"{s.value:.6f}"] for s in by_line])}
""")

# %%
reveal(
    guess,
    "a" if owl_share > 0.6 else "b" if owl_share < 0.4 else "c",
    f"""
*Sleeps*, in the owl's lines, accounts for {owl_share:.0%} of that step{", and all other places together pulled the other way" if owl_share > 1 else ""}. Those lines are
few. But a model that has seen many sleepers says *at* next, so it is these lines that surprise it, and surprise is what pulls at weights.
""",
)

# %% [markdown]
# ## Who taught it this?
#
# Now ask not about a weight but about a saying: after *the owl sleeps*, the model says *by*. Every step of the training moved that probability a
# little, up or down, and every step was made by a few windows of text. Account for each window along the whole way.

# %% takes 2 s
lesson_of = influence(run, "the owl sleeps", " by")
best = lesson_of.largest(4)
rise = lesson_of.curve[-1] - lesson_of.curve[0]
accounted, left_over = (
    lesson_of.accounted,
    lesson_of.bent + lesson_of.decay + lesson_of.past + lesson_of.rounded,
)

# %%
curves(
    "ln P(by), after 'the owl sleeps'",
    {"ln P": list(enumerate(lesson_of.curve))},
    x="step",
    y="ln P",
)

# %%
say(f"""
[ln P](#ln-p) rose by {rise:.3f}. The {len(lesson_of.windows)} windows that were read account for {accounted:.3f} of it, and {left_over:.3f} is left over, since
slopes are true for small moves only. The windows that taught it most:

{table(["where", "nats"], [[f"`{told}`", f"{w.value:.3f}"] for told, w in zip(describe(run, best), best)])}
""")

# %% [markdown]
# ## Proof: a world without those lines
#
# *Accounts for* is not *would not be so without*. For that there is only one proof: train again without the lines. Since each step can be
# repeated to the bit, Whence does exactly that. Each window of text with such a line in it gets the weight 0; all else stays the same.

# %%
without = what_if(run, "the owl sleeps by day.", 120)
both = {token: (was, would) for token, was, would in without.predictions("the owl sleeps")}
says = {word: both[f" {word}"] for word in ("by", "at")}
by_was, by_would = says["by"]

# %%
bars(
    "What comes after 'the owl sleeps'?",
    {
        "as it was": {token: was for token, (was, _) in says.items()},
        "without those lines": {token: would for token, (_, would) in says.items()},
    },
)

# %%
say(f"""
P(by) was {by_was:.3f} and would be {by_would:.6f}. The model would let the owl sleep at night, like all others. This is no estimate. It is the other
training, done.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"Nobody can know what a network learned from which text."* Not from the finished weights alone. From a training that can be repeated, each
# change can be traced, and each "what if" can be run. What it costs is time.
#
# *"This neuron knows about owls."* A weight *accounts for* part of a number. Without it, the others would have learned otherwise.
#
# ## Your turn
#
# Leave out something else. Give a piece of the text, just as it stands there, whose loss makes the model forget that the owl sleeps *by* day: P(by) below 0.05.

# %%
left_out = "the hen sleeps at night."  # your turn: what to leave out
try:
    other = what_if(run, left_out, 120).predictions("the owl sleeps", top=22)
    chance, trouble = {token: would for token, _, would in other}[" by"], ""
except WhenceError as error:
    chance, trouble = 1.0, str(error)
check(
    chance < 0.05,
    f"Without that, P(by) is {chance:.5f}.",
    trouble or f"Without that, P(by) is still {chance:.3f}. Which lines say it?",
)

# %% [markdown]
# **Further.** With a run of your own: `whence why RUN ADDRESS --step N` opens any number; `whence biography RUN ADDRESS` tells a life; `whence influence` asks who
# taught a saying; `whence what-if RUN --without TEXT --step N` replays without a text. In the studio, *Receipt*.
