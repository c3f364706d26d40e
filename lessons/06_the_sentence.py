# %% [markdown]
# # 6 · The sentence
#
# Now a machine that learns to say **we love deep learning**, with every number in sight. It knows twelve words. After each
# word it gives all twelve a score, turns the scores into probabilities, pays the surprise at the true word, and
# turns its dials.

# %%
import math

from whence.experiments.first import first_learned
from whence.experiments.prediction import noted_positions, total_loss
from whence.experiments.sentence import learn, make_model, open_sentence
from whence.lessons import ask, bars, check, curves, reveal, say, table

positions = noted_positions()
first = positions[0]

# %% [markdown]
# ## From scores to probabilities
#
# The scores are called **logits**. Any number will do, also a negative one. First take made-up ones, for eight words, as they may stand
# somewhere in the middle of a training. The sentence has only begun (`<BOS>` marks the beginning), and the true next word is *we*.
#
# **Softmax** makes probabilities of them: raise e to the power of each logit, so that all are positive; then divide by their sum, so that they
# add up to 1.

# %%
guess = ask(
    "The logit of 'we' is 2.1. What is its probability?",
    "about 0.9, since 2.1 is a high score",
    "about a half",
    "it can't be told from 2.1 alone",
)
guess

# %%
total = sum(first.exponentials)
p_we = first.probability
sigmoid = 1 / (1 + math.exp(-2.1))
extended = math.exp(2.1) / (total + 4)

# %%
bars(
    "Probability of the next word after <BOS>",
    dict(zip(first.words, first.probabilities)),
    highlight="we",
)

# %%
reveal(
    guess,
    "c" if abs(p_we - extended) > 0.005 else "b",
    f"""
{table(["word", "logit z", "e^z", "P = e^z / sum"], [[f"`{w}`", f"{z:g}", f"{e:.4g}", f"{p:.6f}"] for w, z, e, p in zip(first.words, first.logits, first.exponentials, first.probabilities)])}

The sum of the third column is {total:.4f}, so [P(we)](#we) = {math.exp(2.1):.4f} / {total:.4f} = **{p_we:.6f}**. The logits of the *other*
words count as much as its own. {sigmoid:.3f} would be the **sigmoid** of 2.1, which is for yes-or-no questions. And
four more words with logit 0 would take their share too: P(we) would be {extended:.4f}.
""",
)

# %% [markdown]
# ## The slope: p − y
#
# Which way should each logit move? Let y be what we want: 1 for the true word, 0 for all others. The slope of the surprise for each
# logit is simply **p − y**.

# %%
slopes = dict(zip(first.words, first.gradient))
slope_we, slope_the, slope_hello, slope_is = (slopes[w] for w in ("we", "the", "hello", "is"))

# %%
bars("The slope of each logit, p − y", slopes)

# %%
say(f"""
[we](#we) has {slope_we:.4f}: negative, so it must go **up**. All others are positive and go down, the more the more probability they
took: [the](#the) {slope_the:+.4f}, [hello](#hello) {slope_hello:+.4f}, [is](#is) {slope_is:+.4f}. Together they add up to 0.
""")

# %%
losses = [p.loss for p in positions]
loss_sum = total_loss(positions)
loss_mean = loss_sum / 4
perplexity = math.exp(loss_mean)
say(f"""
The same for all four words of the sentence:

{table(["after", "true word", "P(true word)", "surprise"], [[f"`{' '.join(p.context)}`", p.target, f"{p.probability:.6f}", f"{p.loss:.6f}"] for p in positions])}

The surprises add up to {loss_sum:.6f}. Their mean is {loss_mean:.6f}, and e to the power of that is the perplexity, {perplexity:.6f}: as unsure as
choosing among about two words.
""")

# %% [markdown]
# ## Train it in earnest
#
# Those logits were made up. Here is a real machine, with 36 dials: each of the twelve words has one number to be *read* by, one to
# be *written* by, and a bias. `logit(w) = read(last word) · write(w) + bias(w)`. The dials start at random. One update, then 999 more.

# %%
sentence = open_sentence("we love deep learning")
model = make_model("scalars", sentence, seed=0)
course = learn(model, sentence, steps=1000, rate=0.1, show=(0,))
opened = course.snapshots[0]
start_loss, end_loss = course.losses[0], course.losses[-1]
knows_nothing = 4 * math.log(12)

# %%
update = next(u for u in opened.updates if u.name == "bias")
at = sentence.vocabulary.index("we")
before, slope, after = (t[at].item() for t in (update.before, update.gradient, update.after))
per_place = [p.gradient[at] for p in opened.positions]
say(f"""
A machine that knows nothing gives each of 12 words 1/12 and pays 4 · ln 12 = {knows_nothing:.4f}. This one starts at
{start_loss:.4f}.

Follow one dial through the first update, the bias of *we*. It has a say at all four places, so its slope is the sum of four p − y:
{" + ".join(f"{g:.4f}" for g in per_place)} = {slope:.4f}. With rate 0.1 it goes from {before:.4f} to {before:.4f} − 0.1 · ({slope:.4f}) = {after:.4f}.
""")

# %%
curves(
    "How sure it is of each word, step by step",
    {
        word: [(step + 1, row[t]) for step, row in enumerate(course.probabilities)]
        for t, word in enumerate(sentence.targets)
    },
    x="step",
    y="P(true word)",
    log_x=True,
)

# %%
passed = dict(zip(sentence.targets, course.learned_at()))
in_order = sorted(passed, key=lambda word: (passed[word] is None, passed[word]))
when = {word: "never" if step is None else f"at {step}" for word, step in passed.items()}
say(f"""
After 1,000 steps the sum of surprises has gone from {start_loss:.4f} to {end_loss:.4f}. The words pass one half at these
steps: {", ".join(f"{word} {when[word]}" for word in in_order)}.
""")

# %%
firsts = dict.fromkeys(sentence.targets, 0)
for seed in range(12):
    short = learn(make_model("scalars", sentence, seed=seed), sentence, steps=80, rate=0.1, show=())
    soonest = first_learned(short)
    if soonest is not None:
        firsts[sentence.targets[soonest]] += 1

# %% [markdown]
# ## What is often said wrong

# %%
say(f"""
*"Early words are learnt first", "late words are learnt first".* Both are said. Over 12 random starts of this machine,
the first to pass one half was {", ".join(f"*{w}* in {n}" for w, n in firsts.items())}. {"So it depends on the start." if sum(n > 0 for n in firsts.values()) > 1 else "Here all starts agree in which they learn at all."} `whence experiment first` asks four kinds of machine, from thirty starts each.

*"The loss begins at 2.94."* That is the sum for the made-up logits, which already know a good deal. One that knows nothing begins near
{knows_nothing:.2f}.

*"It understands the sentence now."* It has 36 numbers that make four words likely, each after the one before. This machine sees only the last word.
""")

# %% [markdown]
# ## Your turn
#
# Three words only: the logits are 0, 0 and z. Which z gives the third word a probability of one half? Two digits behind the point.

# %%
z = 0.0  # your turn: the logit of the third word
p_third = 1 / (1 + 2 * math.exp(-z)) if z > -700 else 0.0
check(
    abs(p_third - 0.5) < 0.003,
    f"e^z must equal 1 + 1, so z = ln 2 = {math.log(2):.4f}; P = {p_third:.4f}.",
    f"P is {p_third:.4f}: {'raise' if p_third < 0.5 else 'lower'} z. e^z must be as much as the other two together, and e^0 = 1.",
)

# %% [markdown]
# **Further.** `whence sentence` prints all of it for your own sentence; `whence sentence --model gpt` gives the job to a Transformer;
# `whence experiment first` counts which word comes first over many runs. In the studio, *Prediction*
# has the same table for your own model.
