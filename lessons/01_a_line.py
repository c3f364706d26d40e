# %% [markdown]
# # 1 · A line
#
# A coffee shop near the station takes more money than one far away. Somebody noted the distance and a day's takings
# of twelve shops. (We made the numbers up for this lesson.) Can a machine learn the rule, and use it for a distance that nobody measured?
#
# It has two dials: **start**, the takings at distance 0, and **change**, what each kilometre adds. It answers
# `start + change · distance`.

# %%
from whence.lessons import Box, ask, check, curves, descent, figure, flow, reveal, say, table
from whence.models.small.line import COFFEE_SHOP, Line, Scale, least_squares, squared_error
from whence.scalar import SGD, Matrix, Value, mse
from whence.train.loop import train

names, shops = COFFEE_SHOP
distances = [distance for distance, _ in shops]
takings = [money for _, money in shops]

# %%
guess = ask(
    "The takings fall with distance. Which dial will end up below zero?",
    "start",
    "change",
    "neither",
)
guess

# %% [markdown]
# ## One step by hand
#
# Take one more shop, at 4 km, that takes 580. The dials stand at start 500 and change −50. Watch every number of a single step.

# %%
start, change = Value(500, label="start"), Value(-50, label="change")
answer = start + change * 4
loss = mse([answer], [580])
loss.backward()
hand_answer, hand_loss = answer.data, loss.data
start_slope, change_slope = start.grad, change.grad

# %%
flow(
    "One prediction, its error, and the slopes that come back",
    [
        [
            Box("start", f"{start.data:g}", f"slope {start.grad:g}", 0),
            Box("change", f"{change.data:g}", f"slope {change.grad:g}", 1),
        ],
        [Box("answer", f"{answer.data:g}", f"slope {answer.grad:g}", 3)],
        [Box("error", f"{loss.data:g}", "(answer − 580)²", 4)],
    ],
    [("start", "answer", "+"), ("change", "answer", "· 4"), ("answer", "error", "")],
)

# %%
say(f"""
[The answer](#answer) is 500 − 50 · 4 = {answer.data:g}. [The error](#error) is ({answer.data:g} − 580)² =
{loss.data:g}. Both slopes are negative: {start_slope:g} for [start](#start), and {change_slope:g} for [change](#change). That is
four times as much, because change counts once for each of the 4 kilometres. So both dials must go **up**. That makes sense: the
answer was too low.
""")

# %% [markdown]
# ## Many steps
#
# One loop does all the training in these lessons, from this line to a GPT: predict, measure the error, find the slopes,
# step downhill, repeat. It is called `train`. Here the error is the mean of the squared errors over all the shops. The error that
# a machine is trained on is called its **loss**.
#
# First the distances are shifted and scaled so that their mean is 0 and their spread is 1. Then one rate suits both
# dials.

# %%
scale = Scale.of([[d] for d in distances])
x, y = Matrix(scale.inside([[d] for d in distances])), Matrix([[t] for t in takings])
line = Line(Matrix([[0.0]]), Matrix([[0.0]]))
batches = {step: [(1.0, (x, y))] for step in range(60)}
losses, fits = [], []
for step, loss in train(line, batches, squared_error, SGD(line.parameters(), 0.1), range(60)):
    losses.append((step, loss.data))
    fits.append(scale.fit(line.start.numbers()[0][0], line.change.numbers()[0]))
fit = fits[-1]
learned_start, learned_change = fit.start, fit.change[0]

# %%
ends = [0.0, 4.2]
curves(
    "The line learns the shops",
    {f"after step {step}": [(d, fits[step].predict([d])) for d in ends] for step in (0, 5, 59)},
    x="distance (km)",
    y="money",
    points={"shops": shops},
)

# %% [markdown]
# Every setting of the two dials has its error, so the errors form a surface over them. Watch the training as a ball that rolls down this surface.


# %%
def mean_error(start, change):
    return sum((start + change * d - t) ** 2 for d, t in shops) / len(shops)


seen = [0, 1, 2, 3, 4, 5, 7, 10, 15, 25, 40, 59]
descent(
    "The loss over the two dials, and the way down",
    mean_error,
    x=("start", 0, 700),
    y=("change", -200, 0),
    way=[
        (
            fits[i].start,
            fits[i].change[0],
            f"step {i}: start {fits[i].start:.1f}, change {fits[i].change[0]:.1f}, "
            f"loss {figure(mean_error(fits[i].start, fits[i].change[0]))}",
        )
        for i in seen
    ],
)

# %%
closed = least_squares([[d] for d in distances], takings)
away = fit.predict([2.3])
best_start, best_change = closed.start, closed.change[0]
say(f"""
[The last line](#after-step-59) runs through [the shops](#shops). There is also a formula that gives the best line without any steps. Side by side:

{table(["", "start", "change"], [["learned in 60 steps", fit.start, fit.change[0]], ["by the formula", closed.start, closed.change[0]]])}

For 2.3 km, a distance that none of the twelve shops has, the line answers **{away:.1f}**.
""")

# %%
reveal(
    guess,
    "a" if learned_start < 0 else "b" if learned_change < 0 else "c",
    f"Each kilometre changes the takings by {learned_change:.1f}. "
    + (
        "A *negative* weight is how a machine says that more of this means less of that. "
        if learned_change < 0
        else "A *positive* weight is how a machine says that more of this means more of that. "
    )
    + f"Start is {learned_start:.1f}.",
)

# %% [markdown]
# ## What is often said wrong
#
# *"Why do we need to set the gradients manually to zero?"* That is a [question on PyTorch's forum](https://discuss.pytorch.org/t/why-do-we-need-to-set-the-gradients-manually-to-zero-in-pytorch/4903),
# and many people take it for granted that each step begins with fresh slopes. It doesn't: in PyTorch, as here, slopes **add up** until you clear them.
# Forgetting to clear them is on Andrej Karpathy's list of [the most common neural net mistakes](https://x.com/karpathy/status/1013244313327681536).
# See what happens to the fit:


# %%
def final_loss(clear):
    line = Line(Matrix([[0.0]]), Matrix([[0.0]]))
    optimizer = SGD(line.parameters(), 0.1)
    for _ in range(60):
        if clear:
            optimizer.zero_grad()
        loss = squared_error(line, (x, y))
        loss.backward()
        optimizer.step()
    return loss.data


cleared, piled_up = final_loss(clear=True), final_loss(clear=False)
say(f"After 60 steps the loss is {cleared:.1f} with clearing and {piled_up:,.0f} without it.")

# %% [markdown]
# ## Your turn
#
# How far away is a shop that takes 450? Work it out by hand, with the learned start and change from the table. Two
# decimals are enough.

# %%
distance = 0.0  # your turn: the distance in km, 0 to 4.2
takes = fit.predict([distance])
check(
    abs(takes - 450) < 1.5,
    f"At {distance:g} km the line says {takes:.1f}: (450 − {fit.start:.2f}) / {fit.change[0]:.2f}.",
    f"At {distance:g} km the line says {takes:.1f}. "
    + ("Go farther. " if takes > 450 else "Come nearer. ")
    + "Solve 450 = start + change · distance for the distance.",
    curves(
        "Where the line says 450",
        {"the line": [(d, fit.predict([d])) for d in ends], "450": [(d, 450.0) for d in ends]},
        x="distance (km)",
        y="money",
        points={"your shop": [(distance, takes)]},
    ),
)

# %% [markdown]
# **Further.** `whence line` prints every step of this fit; `whence line my.csv` fits your own table. In the studio,
# choose *Play* and the line to go through it step by step.
