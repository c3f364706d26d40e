# %% [markdown]
# # 3 · A neuron, a network by hand, and how a unit dies
#
# A **neuron**, or **unit**, multiplies each input by a weight, adds a number of its own, the **bias**, and lets only what is above zero through:
#
# `h = relu(w · x + b)`, where relu(z) is z if z is positive and 0 otherwise.
#
# Put a second unit behind it, one without a relu, and you have a network. This one has one input, one hidden neuron, one output, and four dials.

# %%
from whence.lessons import Box, ask, check, curves, flow, moving, reveal, say, table
from whence.models.small.mlp import MLP, half_squared_error
from whence.scalar import SGD, Matrix
from whence.scalar.dead import cause, dead_units, snapshot
from whence.train.loop import train


def network():
    return MLP([(Matrix([[2.0]]), Matrix([[-3.0]])), (Matrix([[1.5]]), Matrix([[0.5]]))])


def dials(net):
    (w1, b1), (w2, b2) = net.layers
    return [m[0, 0] for m in (w1, b1, w2, b2)]


def predict(net, x):
    return net(Matrix([[x]]))[0, 0].data


# %% [markdown]
# The input is 2 and the answer should be 4. The loss is (ŷ − 4)² / 2, where ŷ ("y hat") is the prediction.

# %%
net = network()
x, y = Matrix([[2.0]]), Matrix([[4.0]])
(z, h), (out, _) = net.trace(x)
loss = half_squared_error(lambda _: out, (x, y))
loss.backward()
w1, b1, w2, b2 = dials(net)
y_hat, first_loss = out[0, 0].data, loss.data
slopes = [v.grad for v in (w1, b1, w2, b2)]

# %%
flow(
    "Forward to the right, slopes back to the left",
    [
        [
            Box("x", f"{x[0, 0].data:g}", "the input", 5),
            Box("w1", f"{w1.data:g}", f"slope {w1.grad:g}", 0),
            Box("b1", f"{b1.data:g}", f"slope {b1.grad:g}", 0),
        ],
        [
            Box("h", f"{h[0, 0].data:g}", "relu(w1 · x + b1)", 2),
            Box("w2", f"{w2.data:g}", f"slope {w2.grad:g}", 1),
            Box("b2", f"{b2.data:g}", f"slope {b2.grad:g}", 1),
        ],
        [Box("ŷ", f"{y_hat:g}", "w2 · h + b2", 3)],
        [Box("loss", f"{first_loss:g}", "(ŷ − 4)² / 2", 4)],
    ],
    [
        ("x", "h", ""),
        ("w1", "h", ""),
        ("b1", "h", ""),
        ("h", "ŷ", ""),
        ("w2", "ŷ", ""),
        ("b2", "ŷ", ""),
        ("ŷ", "loss", ""),
    ],
)

# %%
say(f"""
2 · 2 − 3 = {z[0, 0].data:g} passes through relu unchanged, so [h](#h) = {h[0, 0].data:g}. Then 1.5 · 1 + 0.5 =
{y_hat:g} = [ŷ](#ŷ), and [the loss](#loss) is {first_loss:g}. The slopes are {slopes[0]:g} for [w1](#w1), {slopes[1]:g} for [b1](#b1),
{slopes[2]:g} for [w2](#w2) and {slopes[3]:g} for [b2](#b2). All are negative, so all four dials go up.
""")

# %%
guess = ask(
    "We take one step with rate 0.1. The prediction was 2 and should be 4. What is it after the step?",
    "about 3, halfway there",
    "exactly 4",
    "almost 5, too far",
)
guess

# %%
SGD(net.parameters(), 0.1).step()
after = predict(net, 2.0)
after_loss = (after - 4) ** 2 / 2
new_w1, new_b1, new_w2, new_b2 = (v.data for v in dials(net))
straight = y_hat + sum(0.1 * slope * slope for slope in slopes) / (4 - y_hat)

# %%
reveal(
    guess,
    "c" if after > 4.5 else "b" if after > 3.5 else "a",
    f"""
The dials are now w1 = {new_w1:g}, b1 = {new_b1:g}, w2 = {new_w2:g} and b2 = {new_b2:g}. The prediction is **{after:g}** and the
loss {after_loss:g}. Two things made the difference. First, all four dials moved at once: their slopes alone would have brought the prediction
to {straight:g}{", so the rate was too large" if straight > 4 else ""}. Second, dials multiply one another: a larger w2 met a larger h, and that did the rest.{" It went too far." if after > 4 else " It isn't 4 yet." if after < 4 else ""}
""",
)

# %% [markdown]
# ## Three samples, and a death
#
# Now take three samples, (1, 2), (2, 4) and (3, 6), with an update after each one. The rule behind them is simple: double the input.
# Follow what goes into the relu, before it is cut off at zero, for each of the three inputs.

# %%
inputs, answers = [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]


class OneByOne:
    """Sample after sample, round and round."""

    def __getitem__(self, step):
        k = step % 3
        return [(1.0, (Matrix([[inputs[k]]]), Matrix([[answers[k]]])))]


def learn(rate, epochs):
    net, moments, losses = network(), [], []
    every = Matrix([[x] for x in inputs])

    def look():
        moments.append(snapshot(net.layers, every, net.trace(every)))

    look()
    steps = range(3 * epochs)
    for _, loss in train(net, OneByOne(), half_squared_error, SGD(net.parameters(), rate), steps):
        losses.append(loss.data)
        look()
    return net, moments, [sum(losses[i : i + 3]) / 3 for i in range(0, len(losses), 3)]


net, moments, epoch_losses = learn(rate=0.1, epochs=5)
fatal = next(i for i, now in enumerate(moments) if dead_units(now))
predictions = [predict(net, x) for x in inputs]
dead_w1, dead_b1, dead_w2 = (v.data for v in dials(net)[:3])

# %%
curves(
    "What goes into the relu: below 0 nothing comes out",
    {
        f"x = {x:g}": [(i, now.z[0][k][0]) for i, now in enumerate(moments[:10])]
        for k, x in enumerate(inputs)
    },
    x="updates",
    y="w1 · x + b1",
)

# %%
say(f"""
After update {fatal} all three lines lie below 0, and they stay flat. relu gives 0 for every sample, and where relu gives 0 its slope
is 0 too. So w1 and b1 get no slope and never move again. Nor does w2: its slope has the factor h, which is 0. The unit is **dead**. What is left always answers w2 · 0 + b2 = b2,
whatever the input: {predictions[0]:.4f}, {predictions[1]:.4f}, {predictions[2]:.4f}.

An **epoch** is one pass through all the samples. The mean loss of each epoch was {", ".join(f"{v:.4f}" for v in epoch_losses)}.
""")

# %% [markdown]
# The same death once more, step by step: three dots for the three inputs, on the curve of the relu. On the flat part to the left there is no slope.

# %%
into = [[now.z[0][k][0] for k in range(3)] for now in moments[:6]]
reach = max(abs(z) for row in into for z in row)
moving(
    "A unit dies",
    {"relu": [(-reach, 0.0), (0.0, 0.0), (reach, reach)]},
    [
        (
            {f"x = {x:g}": (z, max(0.0, z)) for x, z in zip(inputs, row)},
            f"after update {i}: into the relu go {', '.join(f'{z:.2f}' for z in row)}"
            + (". All are below 0: the unit is dead" if max(row) < 0 else ""),
        )
        for i, row in enumerate(into)
    ],
    x="what goes in",
    y="what comes out",
    trail=False,
)

# %%
receipt = cause(moments[fatal - 1], moments[fatal], 0, 0)
was, by_weight, by_bias = (term.value for term in receipt.terms)
closest = max(inputs, key=lambda x: moments[fatal].z[0][inputs.index(x)][0])
say(f"""
What killed it? Look at x = {closest:g}, the input for which the unit came closest to staying open, and take the fatal update apart:

{table(["what goes into the relu", ""], [["before the update", f"{was:.4f}"], ["the change of w1 adds", f"{by_weight:.4f}"], ["the change of b1 adds", f"{by_bias:.4f}"], ["after the update", f"{receipt.value:.4f}"]])}

The prediction had been far too high, so the slopes were large, and one step pushed the unit below 0 for every input.
""")

# %% [markdown]
# Now do the same with a rate of 0.09 instead of 0.1.

# %%
gentle, gentle_moments, gentle_losses = learn(rate=0.09, epochs=300)
gentle_predictions = [predict(gentle, x) for x in inputs]
alive = not dead_units(gentle_moments[-1])
trained_longer, _, _ = learn(rate=0.1, epochs=300)
same_length = [predict(trained_longer, x) for x in inputs]
say(f"""
After 300 epochs each:

{table(["input", "rate 0.1", "rate 0.09", "should be"], [[x, f"{p:.4f}", f"{q:.4f}", t] for x, p, q, t in zip(inputs, same_length, gentle_predictions, answers)])}

The unit {"lives at 0.09: a rate smaller by a tenth made the difference" if alive else "dies too at 0.09: a rate smaller by a tenth wasn't enough"}. At 0.1 it is still dead, and more training
doesn't bring it back. The best constant answer would be the mean, {sum(answers) / 3:g}, but b2 doesn't even settle there, because
each sample pulls it a different way.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"Once a neuron gets negative, it's unlikely for it to recover"* ([A Practical Guide to ReLU](https://medium.com/@danqing/a-practical-guide-to-relu-b83ca804f1f7),
# copied into many courses). One sample isn't enough for that. A unit is dead only when what goes into its relu is negative for **every** sample.

# %%
closed = gentle_moments[0].z[0][0][0]
say(f"""
At the start this unit was closed for x = 1: 2 · 1 − 3 = {closed:g}. With rate 0.09 it learned all the same, because the other two samples kept it open.
It died at rate 0.1 only when the last of the three had closed.
""")

# %% [markdown]
# ## Your turn
#
# Back to the three samples. Somewhere between crawling and dying lies a good rate. Find one that brings the mean loss of the 60th epoch
# below 0.0001.

# %%
rate = 0.01  # your turn: the rate, 0.005 to 0.5
result, ends, spent = learn(rate, 60) if 0 < rate <= 0.5 else (None, moments, [9.0])
check(
    spent[-1] < 0.0001 and not dead_units(ends[-1]),
    f"The unit lives, and the loss of the 60th epoch is {spent[-1]:.2g}.",
    "Take a rate above 0 and at most 0.5."
    if result is None
    else f"The unit died at update {next(i for i, m in enumerate(ends) if dead_units(m))}: "
    + ("this rate is too large." if rate >= 0.095 else "try another rate.")
    if dead_units(ends[-1])
    else f"The unit lives, but the loss is still {spent[-1]:.2g}: "
    + ("go a little faster." if rate < 0.07 else "go a little slower."),
    curves(
        "60 epochs at your rate",
        {"mean loss": list(enumerate(spent, 1)), "0.0001": [(1, 1e-4), (60, 1e-4)]},
        x="epoch",
        y="loss",
        log_y=True,
    ),
)

# %% [markdown]
# **Further.** `whence net one --show every-step` prints each product; `whence net` tells this death in full; `whence net
# two-features` has a weight that never moves, and why. In the studio, *Play* has
# both: type in other weights and see whether the unit lives.
