# %% [markdown]
# # 13 · Whence?
#
# A trained model says something. Where did it get that from? (*Whence* asks just this.) Usually nobody can tell: text went in, numbers came out. But training
# is only arithmetic. If every step can be repeated, to the last bit, then every number can be asked where it came from.
#
# A small GPT will learn from a farm. All the animals there sleep at night, except for the owl.

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
240 lines, {farm.count("owl sleeps")} of them *the owl sleeps by day*. In {len(run.steps)} steps the loss went from {first_loss:.3f} to
{last_loss:.3f}.

## The life of one weight

The last layer has a row of weights for each word that the model can say. Take the row for *by*, and in it the weight that ended up
largest. How did it get there?
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
    "One step changed this weight the most. Which lines of the text were responsible?",
    "those about the owl that sleeps by day",
    "the others, because there are far more of them",
    "all lines, about equally",
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
It started as {born:g}. The steps that raised it added {ups:.6f}, the steps that lowered it {downs:.6f}. Together that makes **{final:.6f}**, which is what
is stored. After {len(life.changes)} steps, rounding leaves {residual:g} unexplained.
""")

# %%
by_line = [share for share in turn.places.shares if share.value * turn.change > 0][:4]
owl_share = sum(s.value for s in turn.places.shares if "owl⟨ sleeps" in s.label) / turn.change
say(f"""
[The largest step](#the-largest-step), number {turn.step}, changed it by {turn.change:.6f}. Here is that step, split up among the lines of the text. The marks
⟨ ⟩ show the word at which it happened:

{table(["line", "its part"], [[f"`{s.label}`", f"{s.value:.6f}"] for s in by_line])}
""")

# %%
reveal(
    guess,
    "a" if owl_share > 0.6 else "b" if owl_share < 0.4 else "c",
    f"""
The word *sleeps* in the owl's lines accounts for {owl_share:.0%} of that step{", because all other places together pulled the other way" if owl_share > 1 else ""}. {"There are few such lines. But a model that has seen many sleepers expects *at* next, so these are the lines that surprise it, and surprise is what moves weights." if owl_share > 0.6 else "So other lines had as much to do with it."}
""",
)

# %% [markdown]
# ## Who taught it this?
#
# Now ask about something the model says: after *the owl sleeps* comes *by*. Every step of the training moved that probability a
# little, up or down, and every step was made by a few **windows**, short pieces of the text. Add up what each window did, over the whole training.

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
[ln P](#ln-p) {"rose" if rise > 0 else "fell"} by {abs(rise):.3f}. The {len(lesson_of.windows)} windows that were read account for {accounted:.3f} of that, and {left_over:.3f} is left over, because
slopes hold for small moves only. These windows taught it the most:

{table(["where", "nats"], [[f"`{told}`", f"{w.value:.3f}"] for told, w in zip(describe(run, best), best)])}
""")

# %% [markdown]
# ## Proof: a world without those lines
#
# *It accounts for this* doesn't mean *this wouldn't have happened without it*. There is only one proof of that: train again without the lines. Since each step can be
# repeated to the bit, Whence does exactly that. Every window of text with such a line in it gets the weight 0. Everything else stays the same.

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
P(by) was {by_was:.3f} and would be {by_would:.6f}. {"The model would let the owl sleep at night like all the others." if by_would < says["at"][1] else "The model would still let the owl sleep by day: it has learned it elsewhere."} This isn't an estimate. The model really was
trained again.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"No one really knows how the most advanced algorithms do what they do"* (MIT Technology Review, 2017,
# [The Dark Secret at the Heart of AI](https://www.technologyreview.com/2017/04/11/5113/the-dark-secret-at-the-heart-of-ai/)). From the finished weights alone,
# that is largely so. But if a training can be repeated, each change can be traced and each "what if" can be run. The price is time.
#
# *"The neurons that express the fact"* is what Dai and others ([2022](https://arxiv.org/abs/2104.08696)) look for; they call them "knowledge neurons". But a weight only *accounts for* part
# of a number. Had it not been there, the others would have learned something else.
#
# ## Your turn
#
# Leave out something else. Give a piece of the text, exactly as it stands there. Without it, the model should no longer learn that the owl sleeps *by* day: P(by) should be below 0.05.

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
# **Further.** With a run of your own, `whence why RUN ADDRESS --step N` opens any number, `whence biography RUN ADDRESS` tells the story of a weight, `whence influence` asks which
# text taught the model to say something, and `whence what-if RUN --without TEXT --step N` trains again without a text. In the studio, look at *Receipt*.
