# %% [markdown]
# # 7 · Rates and optimizers
#
# The slope says which way to turn a dial. How far is left to us: the **rate**. An **optimizer** is the rule that makes a turn of a
# slope. The plainest is `dial − rate · slope`, called **SGD**. It has clever cousins.

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
# Two dials, u and v. The error is (u² + 40 · v²) / 2: gentle along u, steep across, along v. The errors of real models are like this: gentle in many directions, steep in a few.
# Start at u = 9, v = 1.


# %%
def error(u, v):
    return (u**2 + 40 * v**2) / 2


def walk(make, steps=60):
    u, v = Value(9), Value(1)
    optimizer, path, losses = make([u, v]), [(u.data, v.data)], []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = error(u, v)
        loss.backward()
        losses.append(loss.data)
        optimizer.step()
        path.append((u.data, v.data))
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

Along v each step multiplies the distance by 1 − 40 · rate. Above a rate of 2 / 40 = {edge:g} that is below −1: each
step lands farther out on the other side. So the **steepest** direction sets the largest rate, and the gentlest must wait: along u a step only
multiplies by 1 − rate.
""")

# %%
guess = ask(
    "Momentum keeps some of the last step's direction, like a rolling ball. What will it do in this valley, at rate 0.02?",
    "roll along the valley and arrive sooner",
    "change nothing: the rate is the same",
    "always overshoot and arrive later",
)
guess

# %%
# Momentum: speed = 0.9 · speed + slope; dial − rate · speed.
# Adam: each dial's mean slope, divided by the size its slopes usually have.
runs = {
    "SGD": walk(lambda p: SGD(p, 0.02)),
    "momentum": walk(lambda p: SGD(p, 0.02, momentum=0.9)),
    "Adam": walk(lambda p: Adam(p, 0.5)),
}
ends = {name: losses[-1] for name, (_, losses) in runs.items()}
sgd_end, momentum_end, adam_end = ends.values()

# %%
curves(
    "Three optimizers on their way to the bottom at (0, 0)",
    {name: path for name, (path, _) in runs.items()},
    x="u, the gentle direction",
    y="v, the steep direction",
    points={"start": [(9, 1)], "bottom": [(0, 0)]},
)

# %%
reveal(
    guess,
    "a" if momentum_end < sgd_end else "c",
    f"""
Error after 60 steps: [SGD](#sgd) {sgd_end:.3g}, [momentum](#momentum) {momentum_end:.3g}, [Adam](#adam) {adam_end:.3g}. Along the valley the slopes all point the
same way, so the speed builds up, to as much as 1 / (1 − 0.9) = {1 / (1 - 0.9):.0f} times a single step. It swings too, as you see: speed isn't for free. (This is no ranking. Adam's rate of 0.5 is a length, the others' 0.02 is a factor: they can't be compared.)
""",
)

# %% [markdown]
# ## Adam by hand
#
# Adam gives every dial a step of its own length. It keeps two running means: m of the slopes, v of their squares. Both start at 0, so early on
# they are too small; dividing by 1 − β to the power of the step mends that.

# %%
dials = [Value(1.0), Value(1.0)]
adam = Adam(dials, learning_rate=0.001)
dials[0].grad, dials[1].grad = 100.0, 0.001
adam.step()
moved_large, moved_small = (1.0 - d.data for d in dials)
say(f"""
Two dials, with slopes of 100 and of 0.001. Adam's first step, at rate 0.001, moves them by {moved_large:.6f} and by {moved_small:.6f}. Almost the
same! At the first step, m̂ is the slope and √v̂ its size, so the quotient is +1 or −1 whatever the slope. SGD would have moved the first
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
rolling = runs["momentum"][1]
rises = sum(after > before for before, after in zip(rolling, rolling[1:]))
say(f"""
*"Adam finds the right step by itself."* It also makes a nearly full step, {noise_step:.6f}, of a slope of 0.000001, be it signal or the
last digit's rounding. And its rate still has to be chosen.

*"A smaller rate is always safer."* At rate 0.001 the walk above was still at an error of {trials["rate 0.001"][1][-1]:.3g} after 60 steps, from {trials["rate 0.001"][1][0]:.3g} at the start.

*"The error must fall at each step."* With momentum it rose {rises} times out of 60 on this way down.
""")

# %% [markdown]
# ## Your turn
#
# Plain SGD, the same valley, 60 steps. Choose a rate that gets the error below 0.5. Remember the edge.

# %%
rate = 0.02  # your turn: the rate, 0.001 to 0.1
losses = walk(lambda p: SGD(p, rate))[1] if 0 < rate <= 1 else [float("inf")]
check(
    losses[-1] < 0.5,
    f"The error is {losses[-1]:.3g}. Just below the edge the steep direction only just shrinks, and the gentle one goes as fast as it may.",
    "Take a rate above 0 and at most 1."
    if not 0 < rate <= 1
    else f"The error is {losses[-1]:.3g}: "
    + ("you are over the edge." if rate >= edge else "you may go nearer to the edge."),
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
# **Further.** `whence rates` judges five rates on a line and tests for a good one; `whence train --optimizer muon` is a newer cousin.
# In the studio, *Play* lets you move the rate of a small model while it learns.
