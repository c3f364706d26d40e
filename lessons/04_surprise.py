# %% [markdown]
# # 4 · How wrong? Losses, surprise, and e
#
# To learn, a machine needs one number that says how wrong it was: the **loss**. For amounts, such as money or metres, the
# squared error works well. But what if the answer is a *word*, or "spam", or "cat"? Then the machine gives each possible answer
# a probability. What is a good loss for that?

# %%
import math

from whence.lessons import ask, bars, check, curves, reveal, say, table
from whence.scalar import Value, binary_cross_entropy, cross_entropy, nll, softmax

# %% [markdown]
# Measure the **surprise**. If you were sure of something and it happened, you aren't surprised at all. If you thought it nearly
# impossible and it happened, you are very surprised. If you gave something the probability p and it happened, your surprise is −ln p.
# (`ln` is the natural logarithm, a key on most calculators. ln 1 is 0: no surprise. The nearer p comes to 0, the larger −ln p becomes.)

# %%
guess = ask(
    "One model gave the right answer a probability of 0.1, another gave it 0.01. How many times as surprised is the second one?",
    "10 times",
    "2 times",
    "100 times",
)
guess

# %%
chances = [0.9, 0.5, 0.1, 0.01]
surprises = [nll(p).data for p in chances]
ratio = surprises[3] / surprises[2]

# %%
curves(
    "The less you believed in the right answer, the more you pay",
    {
        "surprise −ln p": [(i / 200, nll(i / 200).data) for i in range(1, 201)],
        "squared error (1 − p)²": [(i / 200, (1 - i / 200) ** 2) for i in range(1, 201)],
    },
    x="probability given to the right answer",
    y="loss",
    points={"the four": list(zip(chances, surprises))},
)

# %%
reveal(
    guess,
    {10: "a", 2: "b", 100: "c"}[round(ratio)],
    f"""
{table(["p", "surprise −ln p"], [[f"{p:g}", f"{s:.4f}"] for p, s in zip(chances, surprises)])}

{surprises[3]:.4f} / {surprises[2]:.4f} = {ratio:.4g}. A hundredth is a tenth of a tenth: two tenfold steps instead of one. The
logarithm turns *times* into *plus*. So where the probabilities of several words are multiplied, their surprises are simply
**added**.
""",
)

# %% [markdown]
# ## Why e?
#
# A logarithm can have any base. The natural one, ln, has the base e. Why that number? Because it gives the simplest
# slopes. Measure the slope of 2ˣ, eˣ and 10ˣ at x = 0:


# %%
def slope_at_0(base):
    return (base**1e-6 - base**-1e-6) / 2e-6


slope_2, slope_e, slope_10 = slope_at_0(2), slope_at_0(math.e), slope_at_0(10)
say(f"""
{table(["base", "slope at 0"], [["2", f"{slope_2:.4f}"], [f"e = {math.e:.5f}", f"{slope_e:.4f}"], ["10", f"{slope_10:.4f}"]])}

e is the base whose slope at 0 is exactly 1. Any other base puts an extra factor into every slope.

The base only sets the unit, as with metres and feet. The surprise at p = 0.1 is {-math.log(0.1):.4f} **nats** (base e), or
{-math.log2(0.1):.4f} **bits** (base 2), or {-math.log10(0.1):.4g} in base 10. Most training programs report nats.
""")

# %% [markdown]
# ## Cross-entropy
#
# For a single example, the loss is the surprise at the right answer. Its mean over many examples is called **cross-entropy**.
# A model that sorts pictures into cat, dog and bird gives each of them a score, and `softmax` turns the scores into
# probabilities. (Lesson 6 shows how.)

# %%
scores = [2.0, 1.0, -1.0]
probabilities = [p.data for p in softmax([Value(s) for s in scores])]
costs = [cross_entropy([Value(s) for s in scores], k).data for k in range(3)]

# %%
bars(
    "What the model believes, and what it would pay if that were the right answer",
    {
        "probability": dict(zip(["cat", "dog", "bird"], probabilities)),
        "loss": dict(zip(["cat", "dog", "bird"], costs)),
    },
)

# %%
spam = {p: nll(p).data for p in (0.95, 0.7, 0.3, 0.05)}
say(f"""
[cat](#probability-cat) got the highest probability, so it would cost least, {costs[0]:.3f}; [bird](#loss-bird) would cost
{costs[2]:.3f}.

"Spam or not" is the same thing with two answers. Suppose a message *is* spam. The filter said so with probability
{", ".join(f"{p:g} (loss {v:.3f})" for p, v in spam.items())}. By far the most expensive answer is the one that is confident and wrong.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"One may ask whether we can use mean squared error (MSE) function as our loss function. The answer is NO!"* says [a page about telling cats from dogs](https://www.sipoch.com/en/articles/300330019950928).
# Hui and Belkin ([2021](https://arxiv.org/abs/2006.07322)) tried it in place of cross-entropy on tasks of language, speech and vision, and it did about as well.
# What is true is this: behind a **sigmoid**, which turns one score into a probability, the squared error learns slowly exactly when it is most wrong.
# Say the filter is sure a message isn't spam, but it is. How hard does each loss push?

# %%
z = Value(-7)
p = z.sigmoid()
((p - 1) ** 2).backward()
pull_squared, sure = z.grad, p.data
z = Value(-7)
binary_cross_entropy(z, 1).backward()
pull_surprise = z.grad
stronger = pull_surprise / pull_squared
say(f"""
The filter gave the right answer a probability of only {sure:.4f}. The squared error pushes the score with a slope of {pull_squared:.5f}, the surprise
with {pull_surprise:.4f}, which is {stronger:.0f} times as hard. Where the sigmoid is flat, the slope of the squared error is nearly
0, and nothing is learned.

Can the loss fall to 0? Only where the right answer is certain. Nobody can foresee every next word. The best possible loss is
then above 0, and it has a name: the **entropy** of the text.
""")

# %% [markdown]
# ## Your turn
#
# Model A gives three words the probabilities 0.5, 0.5 and 0.5. Model B gives 0.9, 0.9 and something less for the third. How low may B go
# on the third word and still have the same total surprise as A? Remember: where probabilities are multiplied, surprises are added.

# %%
third = 0.5  # your turn: B's probability for the third word
total_a = 3 * nll(0.5).data
total_b = 2 * nll(0.9).data + (nll(third).data if 0 < third <= 1 else math.inf)
check(
    abs(total_a - total_b) < 0.02,
    f"0.5 · 0.5 · 0.5 / (0.9 · 0.9) = {0.125 / 0.81:.4f}, and the totals are {total_a:.3f} and {total_b:.3f}.",
    "A probability lies above 0 and is at most 1."
    if not 0 < third <= 1
    else f"A pays {total_a:.3f}, B pays {total_b:.3f}: B may go {'lower' if total_b < total_a else 'less low'}. "
    "0.9 · 0.9 · third must be 0.5 · 0.5 · 0.5.",
)

# %% [markdown]
# **Further.** `whence classify` trains a spam filter on sixty messages, and `whence classify mail` on a folder of your own. Both show
# what each word contributes. In the studio, *Prediction* shows the surprise at every word of your text.
