# %% [markdown]
# # 0 · What learning is
#
# A machine has dials. You show it an input and it gives an answer. The answer is off by some amount: the error.
# Learning means turning the dials so that the error gets smaller. That is true of a machine with one dial and of a
# machine with billions.
#
# Here is the smallest one. It has a single dial and answers `dial · input`. For the input 3 we want the answer 6.

# %%
from whence import Value
from whence.lessons import ask, check, curves, figure, moving, reveal, say


def error(dial):
    answer = dial * 3
    return (answer - 6) ** 2


# %%
dial = Value(0.5)
start_error = error(dial)
start_error.backward()
slope = dial.grad
say(f"""
With the dial at {dial.data:g} the machine answers {dial.data * 3:g}. It should answer 6, so the error is
({dial.data * 3:g} − 6)² = {start_error.data:g}.

Think of the error as a hillside that you are standing on. The **slope** says how steep it is under your feet: if you
turn the dial up a little, the error changes by {slope:g} times that amount.
""")

# %%
guess = ask(
    f"The slope at this setting of the dial is {slope:g}. Which way must the dial turn for the error to fall?",
    "up",
    "down",
    "the slope can't tell",
)
guess

# %% [markdown]
# Try it. Nudge the dial up by a hundredth, then down by a hundredth, and watch the error.

# %%
up = error(Value(0.51)).data
down = error(Value(0.49)).data
measured = (up - down) / 0.02

# %%
reveal(
    guess,
    "a" if up < start_error.data < down else "b",
    f"""
After the nudge up the error is {up:.4f}, after the nudge down {down:.4f}; it was {start_error.data:g}. Take the difference
and divide it by 0.02, the distance between the two settings: {measured:.4f}. That is the slope, measured with two nudges. A negative slope
means that *turning the dial up leads downhill*. So we always step **against** the slope.
""",
)

# %% [markdown]
# Now repeat: answer, measure the error, find the slope, turn the dial a little against it. Each turn has the length
# `rate · slope`. The **rate** is for us to choose.


# %%
def learn(dial, rate, steps):
    places = [(dial, error(Value(dial)).data)]
    for _ in range(steps):
        d = Value(dial)
        error(d).backward()
        dial = dial - rate * d.grad
        places.append((dial, error(Value(dial)).data))
    return places


places = learn(0.5, rate=0.02, steps=12)
last_dial, last_error = places[-1]

# %%
hill = [(x / 50, error(Value(x / 50)).data) for x in range(201)]
moving(
    "The error is a valley, and each step goes downhill",
    {"error": hill},
    [
        ({"steps": (d, e)}, f"step {i}: the dial is at {d:.4f}, the error is {figure(e)}")
        for i, (d, e) in enumerate(places)
    ],
    x="dial",
    y="error",
)

# %%
moves = [b - a for (a, _), (b, _) in zip(places, places[1:])]
say(f"""
[The steps](#steps) walk down the valley of [the error](#error). They get shorter all by themselves, from {moves[0]:.3f} to
{moves[-1]:.4f}, because the ground gets flatter. After {len(moves)} steps the dial stands at {last_dial:.4f} and
the error is {last_error:.6f}. Nobody told the machine that the right setting is 2. The slope led it there.
""")

# %% [markdown]
# ## What is often said wrong
#
# *"When … the gradient is zero, we reached the minimum error!"* ([a guide for beginners](https://www.machinelearningman.com/post/best-explanation-of-gradient-descent-for-beginners);
# "gradient" is another word for slope.) You reached the bottom of the valley you started in. It may not be the lowest one. Here is ground with two valleys, and
# the same loop with the same rate from two starting points.


# %%
def ground(x):
    return (x * x - 1) ** 2 + 0.3 * x


def walk(x, rate=0.05, steps=60):
    for _ in range(steps):
        v = Value(x)
        ground(v).backward()
        x = x - rate * v.grad
    return x, ground(x)


left, right = walk(-0.5), walk(0.5)

# %%
curves(
    "Two valleys: where you start decides where you end",
    {"ground": [(x / 50, ground(x / 50)) for x in range(-75, 76)]},
    x="dial",
    y="error",
    points={"ends": [left, right], "starts": [(-0.5, ground(-0.5)), (0.5, ground(0.5))]},
)

# %%
say(f"""
[Starting](#starts) at −0.5 the walk [ends](#ends) at {left[0]:.3f} with error {left[1]:.3f}; starting at 0.5 it ends at
{right[0]:.3f} with error {right[1]:.3f}. Only one of the two is the lowest point. The slope knows the ground under your feet,
and nothing beyond it.
""")

# %% [markdown]
# ## Your turn
#
# Back to the machine with one dial. Find a rate that brings the error below 0.0001 in 5 steps. If the rate is too small,
# you crawl. If it is too large, you jump across the valley.

# %%
rate = 0.02  # your turn: the rate, 0.005 to 0.15
five = learn(0.5, rate, 5)
reached = five[-1][1]
shrink = 1 - 18 * rate
check(
    reached < 0.0001,
    f"After 5 steps the error is {figure(reached)}. Each step multiplies the distance to the bottom by "
    f"1 − 18 · {rate:g} = {shrink:.3g}; at rate 1/18 it would arrive in one.",
    f"After 5 steps the error is {figure(reached)}. "
    + (
        "A rate of 0 or less never goes downhill."
        if rate <= 0
        else "You crawl: take a larger rate."
        if shrink > 0
        else "Each step lands as far or farther on the other side: take a smaller rate."
        if shrink <= -1
        else "Each step jumps across the bottom: take a smaller rate."
    ),
    curves(
        "Your five steps",
        {"the error": hill},
        x="dial",
        y="error",
        points={"where you were": [p for p in five if 0 <= p[0] <= 4]},
    ),
)

# %% [markdown]
# **Further.** `whence line` is the next machine, with two dials; it is also lesson 1. In the studio, *Play* lets you
# turn such dials yourself.
