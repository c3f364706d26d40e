# %% [markdown]
# # 6 · The sentence
#
# Here is a machine that learns to say **we love deep learning**, with every number in sight. It knows twelve words. At each
# place it gives all twelve a score, turns the scores into probabilities, pays the surprise at the word that really comes next, and
# turns its dials.

# %%
import math

from whence.experiments.text.first import first_learned
from whence.experiments.text.prediction import noted_positions, total_loss
from whence.experiments.text.sentence import learn, make_model, open_sentence
from whence.lessons import ask, bars, check, curves, figure, reveal, say, table

positions = noted_positions()
first = positions[0]

# %% [markdown]
# ## From scores to probabilities
#
# The scores are called **logits**. They can be any numbers, including negative ones. We begin with made-up logits for eight words, such as a
# model might have halfway through its training. The sentence has only begun (`<BOS>` marks the beginning), and the true next word is *we*.
#
# **Softmax** turns logits into probabilities. Raise e to the power of each logit, so that all of them are positive. Then divide by their sum, so that they
# add up to 1.

# %%
guess = ask(
    "The logit of 'we' is 2.1. What is its probability?",
    "about 0.9, because 2.1 is a high score",
    "about a half",
    "you can't tell from 2.1 alone",
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
{table(["word", "logit z", "e^z", "P = e^z / sum"], [[f"`{w}`", f"{z:g}", figure(e), figure(p)] for w, z, e, p in zip(first.words, first.logits, first.exponentials, first.probabilities)])}

The third column adds up to {total:.4f}, so [P(we)](#we) = {math.exp(2.1):.4f} / {total:.4f} = **{p_we:.6f}**. The logits of the *other*
words count as much as its own. (A value of {sigmoid:.3f} would be the **sigmoid** of 2.1, which is for yes-or-no questions.) And if
there were four more words with logit 0, they would take their share too: P(we) would be {extended:.4f}.
""",
)

# %% [markdown]
# ## The slope: p − y
#
# Which way should each logit move? Let y be what we want: 1 for the true word and 0 for all others. The slope of the surprise with respect to each
# logit is simply **p − y**.

# %%
slopes = dict(zip(first.words, first.gradient))
slope_we, slope_the, slope_hello, slope_is = (slopes[w] for w in ("we", "the", "hello", "is"))

# %%
bars("The slope of each logit, p − y", slopes)

# %%
say(f"""
[we](#we) has {slope_we:.4f}. That is negative, so its logit must go **up**. All others are positive and go down: the more probability a word
took, the further. [the](#the) has {slope_the:+.4f}, [hello](#hello) {slope_hello:+.4f}, [is](#is) {slope_is:+.4f}. All the slopes together add up to 0.
""")

# %%
losses = [p.loss for p in positions]
loss_sum = total_loss(positions)
loss_mean = loss_sum / 4
perplexity = math.exp(loss_mean)
say(f"""
The same for each of the four words of the sentence:

{table(["after", "true word", "P(true word)", "surprise"], [[f"`{' '.join(p.context)}`", p.target, f"{p.probability:.6f}", f"{p.loss:.6f}"] for p in positions])}

The surprises add up to {loss_sum:.6f}. Their mean is {loss_mean:.6f}, and e to the power of the mean is the perplexity, {perplexity:.6f}: the model is as unsure as
if it had to choose between about two words.
""")

# %% [markdown]
# ## Train it in earnest
#
# Those logits were made up. Now for a real machine, with 36 dials. Each of the twelve words has three: a number by which it is *read*, one by
# which it is *written*, and a bias. `logit(w) = read(last word) · write(w) + bias(w)`. The dials start at random. We take one update, then 999 more.

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
A machine that knows nothing gives each of the 12 words the probability 1/12 and pays 4 · ln 12 = {knows_nothing:.4f}. This one starts at
{start_loss:.4f}.

Follow one dial, the bias of *we*, through the first update. It has a say in all four predictions, so its slope is the sum of four p − y:
{" + ".join(f"{g:.4f}" for g in per_place)} = {slope:.4f}. With rate 0.1 it goes from {before:.4f} to {before:.4f} − 0.1 · ({slope:.4f}) = {after:.4f}.
""")

# %%
curves(
    "How sure the model is of each word, step by step",
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
After 1,000 steps the sum of the surprises has gone from {start_loss:.4f} to {end_loss:.4f}. Each word passes one half at a different
step: {", ".join(f"{word} {when[word]}" for word in in_order)}.
""")

# %%
firsts = dict.fromkeys(sentence.targets, 0)
for seed in range(12):
    short = learn(make_model("scalars", sentence, seed=seed), sentence, steps=80, rate=0.1, show=())
    soonest = first_learned(short)
    if soonest is not None:
        firsts[sentence.targets[soonest]] += 1

# %%
say(f"""
Which word is learned first? Over 12 random starts of this machine, the first word to pass one half was
{", ".join(f"*{w}* in {n}" for w, n in firsts.items())}. {"So it depends on the start." if sum(n > 0 for n in firsts.values()) > 1 else "Here all starts agree in which they learn at all."} `whence experiment first` asks four kinds of machine, from thirty starts each.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"A model that understands sentence relationships"*: this is how the authors of BERT, one of the best-known language models, speak of what they trained
# ([2019](https://arxiv.org/abs/1810.04805)). Bender and Koller ([2020](https://aclanthology.org/2020.acl-main.463/)) collected such sentences and warn against the word.
# Ours has 36 numbers that make four words likely, each after the one before. It gets the sentence right and sees nothing but the last word.
#
# ## Your turn
#
# There are only three words, with the logits 0, 0 and z. Which z gives the third word a probability of one half? Two decimals are enough.

# %%
z = 0.0  # your turn: the logit of the third word
p_third = 1 / (1 + 2 * math.exp(-z)) if z > -700 else 0.0
check(
    abs(p_third - 0.5) < 0.003,
    f"e^z must equal 1 + 1, so z = ln 2 = {math.log(2):.4f}; P = {p_third:.4f}.",
    f"P is {p_third:.4f}: {'raise' if p_third < 0.5 else 'lower'} z. e^z must be as much as the other two powers together, and e^0 = 1.",
)

# %% [markdown]
# **Further.** `whence sentence` prints all of it for a sentence of your own; `whence sentence --model gpt` gives the job to a Transformer;
# `whence experiment first` counts which word comes first over many runs. In the studio, *Prediction*
# shows the same table for your own model.
