# %% [markdown]
# # 5 · Predicting by counting
#
# The simplest way to predict the next word needs no dials at all. Look at what followed this word before, and count. A
# model that looks one word back is called a **bigram** model, because it counts pairs.

# %%
import tempfile
from pathlib import Path

import numpy as np

from whence.data import open_source, prepare
from whence.experiments.text.smoothing import over_blocks
from whence.lessons import ask, bars, check, grid, reveal, say
from whence.models.ngram.model import NGram, NGramConfig
from whence.models.ngram.sparsity import sparsity

text = ["<s>", "I", "like", "to", "eat", "</s>", "<s>", "I", "like", "pizza", "</s>"]
words = list(dict.fromkeys(text))
ids = {word: i for i, word in enumerate(words)}
tokens = np.array([ids[word] for word in text])


def fit(vocabulary, **settings):
    return NGram(NGramConfig(order=2, **settings), len(vocabulary), start=0).fit(tokens)


def chance(model, word, after):
    return float(np.exp(model.log_probs(np.array([[ids[after]]])))[0, ids[word]])


bigram = fit(words, smoothing="mle")

# %% [markdown]
# The whole text is: *I like to eat. I like pizza.* The mark `<s>` starts a sentence, `</s>` ends it.

# %%
outcomes = [w for w in words if w != "<s>"]
grid(
    "How often one word followed another",
    ["start", *words[1:5], "pizza"],
    ["end" if w == "</s>" else w for w in outcomes],
    [[bigram.count((ids[v], ids[w])) for w in outcomes] for v in ["<s>", *words[1:5], "pizza"]],
    across="next word",
    down="this word",
    digits=0,
)

# %%
i_like, like_to, like_pizza = (
    chance(bigram, "like", "I"),
    chance(bigram, "to", "like"),
    chance(bigram, "pizza", "like"),
)
again = chance(bigram, "like", "to")
say(f"""
Divide each count by the sum of its row. After [I](#i) always came *like*: P(like | I) = {i_like:g}. (Read: the probability of *like*, given that
*I* came before.) After [like](#like) came *to* once and *pizza* once: P(to | like) = P(pizza | like) = {like_pizza:g}. No
model that looks one word back can do better *on this text*.

But *to* was never followed by *like*: P(like | to) = {again:g}. So this model can never write "I like to like". And if
somebody else writes it? The surprise at something with probability 0 is infinite. One unseen pair ruins a whole text.
""")

# %% [markdown]
# ## Smoothing
#
# An old remedy is to pretend that each pair was seen once more than it really was. This is **add-one smoothing**.

# %%
add_one = fit(words, smoothing="add-k", k=1)
smooth = chance(add_one, "like", "I")
with_unknown = fit([*words, "<UNK>"], smoothing="add-k", k=1)
smooth_unknown = chance(with_unknown, "like", "I")
say(f"""
P(like | I) was 2/2. Six words can come next: I, like, to, eat, pizza and the end. With one added to each count it is
(2 + 1) / (2 + 6) = {smooth:g}. With a seventh entry for words never seen before, `<UNK>`, it is (2 + 1) / (2 + 7) =
{smooth_unknown:.4f}.
""")

# %% [markdown]
# ## Real text
#
# Now take the language reference that comes with every Python. Count the words of the first nine tenths and test on the last
# tenth. **Perplexity** is e to the power of the mean surprise. A perplexity of 80 means that the model is as unsure as if it had to
# choose among 80 equally likely words. Lower is better.
#
# A **unigram** model looks no words back, a bigram one, a **trigram** two.

# %%
guess = ask(
    "A trigram knows two words of context, a bigram only one. With add-one smoothing, which is better on unseen text?",
    "the trigram: it knows more",
    "the bigram",
    "this text can't tell them apart",
)
guess

# %%
with tempfile.TemporaryDirectory() as folder:
    data = prepare(open_source("topics"), "words", None, 0.1, Path(folder))
    train, test, size = data.train.copy(), data.validation.copy(), data.tokenizer.vocab_size
    del data


names = {1: "unigram", 2: "bigram", 3: "trigram"}


def scores(smoothing):
    """ln P of each word of the test text, by order."""
    models = {n: NGram(NGramConfig(order=n, smoothing=smoothing), size).fit(train) for n in names}
    return {names[n]: model.score(test).astype(float) for n, model in models.items()}


plain, cleverer = scores("add-k"), scores("kneser-ney")
adding = {name: float(np.exp(-given.mean())) for name, given in plain.items()}
careful = {name: float(np.exp(-given.mean())) for name, given in cleverer.items()}
unigram_ppl, bigram_ppl, trigram_ppl = adding.values()
# In nats per word, with 95 % intervals over stretches of the text:
by_order = over_blocks(plain["bigram"] - plain["trigram"])
shares = sparsity(NGram(NGramConfig(order=3), size).fit(train), test)
known = shares[2].matched

# %%
bars("Perplexity on unseen text: lower is better", {"add-one": adding, "Kneser-Ney": careful})

# %%
reveal(
    guess,
    "b" if by_order > 0 else "a" if by_order < 0 else "c",
    f"""
Unigram {unigram_ppl:.1f}, bigram {bigram_ppl:.1f}, trigram **{trigram_ppl:.1f}**. Of the triples in the test text only {known:.0%}
had ever been seen. {f"Adding one for each of {size:,} words drowns what was really counted." if by_order > 0 else "There is enough text here for the second word." if by_order < 0 else "From one stretch of the text to the next the difference changes its sign."} A better kind of smoothing, called Kneser-Ney,
takes a little from each count and asks the shorter context instead. The same counts then give {careful["trigram"]:.1f}.
""",
)

# %%
say(f"""
The counts are thin. Of {shares[1].possible:,.0f} possible pairs the text shows {shares[1].distinct:,}, which is
{shares[1].share_seen:.2%}. Of all possible triples it shows {shares[2].share_seen:.5%}, and {shares[2].once / shares[2].distinct:.0%}
of those only once. This is called **sparsity**. It is why counting can't simply go on to longer contexts, and one reason why models that *learn* took over.
""")

# %% [markdown]
# ## What is often said wrong

# %%
helps = careful["trigram"] < careful["bigram"]
say(f"""
*"The more information the n-gram gives us about the word sequence, the higher the probability the n-gram will assign to the string."* So says a well-known
textbook, and shows it for unigrams, bigrams and trigrams (Jurafsky and Martin, [Speech and Language Processing](https://web.stanford.edu/~jurafsky/slp3/3.pdf), chapter 3).
It holds when the counts are smoothed well. With Kneser-Ney the second word of
context {"helps here too" if helps else "doesn't help here"}: {careful["bigram"]:.1f} for the bigram, {careful["trigram"]:.1f} for the trigram. With add-one {"it hurts" if by_order > 0 else "it helps" if by_order < 0 else "this text doesn't tell"}: {bigram_ppl:.1f} and {trigram_ppl:.1f}.{" Context helps when counts are smoothed well." if helps and by_order > 0 else ""}
""")

# %% [markdown]
# ## Is counting learning?
#
# Give the training loop of lesson 6 a table with a dial for each pair of words, and step by step it arrives at these same probabilities.
# `whence experiment bigram` shows it. For such a table, counting is a short cut to what learning finds in the end.
#
# ## Your turn
#
# Back to the two sentences. With add-one smoothing and six possible words, what is P(to | like)?

# %%
answer = 0.0  # your turn: the probability
true = chance(add_one, "to", "like")
check(
    abs(answer - true) < 0.001,
    f"(1 + 1) / (2 + 6) = {true:g}.",
    "That is without smoothing."
    if answer == 0.5
    else "That is P(like | I)."
    if answer == 0.375
    else "like was followed by two words, and one of them was to. Add one to that count, and six to the total.",
)

# %% [markdown]
# **Further.** `whence train my.txt --model ngram --model.order 3` counts your own text, and `whence generate` lets the model
# write. `whence experiment smoothing` makes the comparison above.
