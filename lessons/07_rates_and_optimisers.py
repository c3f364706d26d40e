# %% [markdown]
# # 7 · Rates and optimizers
#
# The slope says which way to turn a dial. How far is up to us: that is the **rate**. An **optimizer** is the rule that turns slopes into
# steps. The plainest rule, `dial − rate · slope`, is called **SGD**. It has clever cousins.

# %%
from whence.lessons import ask, check, curves, reveal, say, table
from whence.play.rates import verdict
from whence.scalar import SGD, Adam, Value


def one_turn(rate):
    dial = Value(0.5)
    dial.grad = -0.2
    SGD([dial], rate).step()
    return dial.data


rates = [0.001, 0.01, 0.1, 1.0, 10.0]
turned = [one_turn(rate) for rate in rates]
say(f"""
A dial at 0.5 with slope −0.2, turned once:

{table(["rate", "dial"], [[f"{r:g}", f"{v:.4f}"] for r, v in zip(rates, turned)])}
""")

# %% [markdown]
# ## A long narrow valley
#
# Take two dials, x and y. The error is (x² + 40 · y²) / 2: gentle along x, steep along y. The errors of real models are like this: gentle in many directions, steep in a few.
# Start at x = 9, y = 1.


# %%
def error(x, y):
    return (x**2 + 40 * y**2) / 2


def walk(make, steps=60):
    x, y = Value(9), Value(1)
    optimizer, path, losses = make([x, y]), [(x.data, y.data)], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = error(x, y)
        loss.backward()
        losses.append(loss.data)
        optimizer.step()
        path.append((x.data, y.data))
    return path, [*losses, error(*path[-1])]


trials = {f"rate {r:g}": walk(lambda p, r=r: SGD(p, r)) for r in (0.001, 0.02, 0.045, 0.052)}
judged = {name: verdict(losses) for name, (_, losses) in trials.items()}

# %%
curves(
    "The same walk at four rates",
    {name: list(enumerate(losses)) for name, (_, losses) in trials.items()},
    x="step",
    y="error",
    log_y=True,
)

# %%
edge = 2 / 40
say(f"""
{table(["rate", "error after 60 steps", "verdict"], [[name, f"{losses[-1]:.4g}", judged[name]] for name, (_, losses) in trials.items()])}

Along y each step multiplies the distance to the bottom by 1 − 40 · rate. If the rate is above 2 / 40 = {edge:g}, that factor is below −1, so each
step lands farther out on the other side. Call 2 / 40, the rate beyond which it goes wrong, **the edge**. The **steepest** direction sets the edge, and the gentlest direction has to wait: along x a step
multiplies the distance only by 1 − rate.
""")

# %%
guess = ask(
    "Momentum keeps some of the last step's direction, like a rolling ball. What will it do in this valley at rate 0.02?",
    "roll along the valley and get further down in 60 steps",
    "change nothing, because the rate is the same",
    "overshoot, and be higher up after 60 steps",
)
guess

# %%
# Momentum: speed = 0.9 · speed + slope; dial − rate · speed.
# Adam: each dial's mean slope, divided by the usual size of its slopes.
runs = {
    "SGD": walk(lambda p: SGD(p, 0.02)),
    "momentum": walk(lambda p: SGD(p, 0.02, momentum=0.9)),
    "Adam": walk(lambda p: Adam(p, 0.5)),
}
ends = {name: losses[-1] for name, (_, losses) in runs.items()}
sgd_end, momentum_end, adam_end = ends.values()
rolling = runs["momentum"][1]
rises = sum(after > before for before, after in zip(rolling, rolling[1:]))

# %%
curves(
    "Three optimizers on their way to the bottom at (0, 0)",
    {name: path for name, (path, _) in runs.items()},
    x="x, the gentle direction",
    y="y, the steep direction",
    points={"start": [(9, 1)], "bottom": [(0, 0)]},
)

# %%
reveal(
    guess,
    "a" if momentum_end < sgd_end else "c" if momentum_end > sgd_end else "b",
    f"""
The error after 60 steps is {sgd_end:.3g} with [SGD](#sgd), {momentum_end:.3g} with [momentum](#momentum) and {adam_end:.3g} with [Adam](#adam). Along the valley all slopes point the
same way, so the speed builds up to as much as 1 / (1 − 0.9) = {1 / (1 - 0.9):.0f} times a single step. {"Here that is a gain." if momentum_end < sgd_end else "Here that is no gain: it rolls past the bottom."} Speed has its price: the path swings, and the error rose at {rises} of the 60 steps. (This isn't a ranking. Adam's rate of 0.5 is a length, while the others' 0.02 is a factor, so the rates can't be compared.)
""",
)

# %% [markdown]
# ## Adam by hand
#
# Adam gives every dial a step size of its own. It keeps two running means: m, of the slopes, and v, of their squares. At each step m keeps nine tenths of
# what it was and takes one tenth from the new slope; v keeps 99.9 %. Both start at 0, so early on they are too small. Adam corrects that, and the corrected means are written m̂ and v̂.
# The step is rate · m̂ / √v̂.

# %%
dials = [Value(1.0), Value(1.0)]
adam = Adam(dials, learning_rate=0.001)
dials[0].grad, dials[1].grad = 100.0, 0.001
adam.step()
moved_large, moved_small = (1.0 - d.data for d in dials)
say(f"""
Take two dials with slopes of 100 and 0.001. Adam's first step, at rate 0.001, moves them by {moved_large:.6f} and {moved_small:.6f}: almost the
same! At the first step m̂ is the slope and √v̂ is its size, so the quotient is +1 or −1, whatever the slope. SGD would have moved the first dial
{100 / 0.001:,.0f} times as far as the second.
""")

# %% [markdown]
# ## What is often said wrong

# %%
tiny = [Value(1.0)]
noisy = Adam(tiny, learning_rate=0.001)
tiny[0].grad = 1e-6
noisy.step()
noise_step = 1.0 - tiny[0].data
needed = {rate: walk(lambda p, r=rate: Adam(p, r))[1][-1] for rate in (0.005, 0.05, 0.5, 5)}
say(f"""
*"The hyper-parameters … typically require little tuning"*, says the paper that introduced Adam ([Kingma and Ba, 2015](https://arxiv.org/abs/1412.6980)). (Hyper-parameters
are what you choose yourself, such as the rate.) But the rate does have to be chosen. In the valley above, after 60 steps:

{table(["Adam's rate", "error"], [[f"{r:g}", f"{e:.3g}"] for r, e in needed.items()])}

And Adam takes a nearly full step, {noise_step:.6f}, even if the slope is only 0.000001, which may be nothing but rounding.
""")

# %% [markdown]
# ## Your turn
#
# Plain SGD in the same valley, with 60 steps. Choose a rate that brings the error below 0.5. Remember the edge.

# %%
rate = 0.02  # your turn: the rate, 0.001 to 0.1
losses = walk(lambda p: SGD(p, rate))[1] if 0 < rate <= 1 else [float("inf")]
check(
    losses[-1] < 0.5,
    f"The error is {losses[-1]:.3g}. Just below the edge, the steep direction still shrinks, if only just, and the gentle one goes as fast as it can.",
    "Take a rate above 0 and at most 1."
    if not 0 < rate <= 1
    else f"The error is {losses[-1]:.3g}: "
    + ("you are over the edge." if rate >= edge else "you can go nearer to the edge."),
    curves(
        "60 steps at your rate",
        {"the error": list(enumerate(losses)), "0.5": [(0, 0.5), (60, 0.5)]},
        x="step",
        y="error",
        log_y=True,
        top=1000.0,
    ),
)

# %% [markdown]
# **Further.** `whence rates` judges five rates on a line and searches for a good one; `whence train --optimizer muon` tries a newer cousin.
# In the studio, *Play* lets you change the rate of a small model while it learns.
