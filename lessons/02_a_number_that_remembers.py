# %% [markdown]
# # 2 · A number that remembers
#
# With one dial we could nudge and look. With a million dials that would take two million nudges for every step.
# There is a better way. Let every number remember what it was made from. Then a single walk back gives the slope of the
# error for **every** dial at once. We call such a number a `Value`.

# %%
from whence import Value
from whence.lessons import Box, ask, check, flow, reveal, say

a = Value(2, label="a")
b = Value(3, label="b")
c = a * b
c.label = "c"
d = c + 1
d.label = "d"
loss = d**2
loss.label = "loss"

# %%
say(f"""
c = a · b = {c.data:g}. d = c + 1 = {d.data:g}. loss = d² = {loss.data:g}.

The slope of *a* answers this question: if *a* grows a tiny bit, how many times that much does the loss grow?
""")

# %%
guess = ask("What is the slope of the loss with respect to *a*?", "3", "14", "42", "49")
guess

# %% [markdown]
# One call walks back from the loss and fills in all the slopes.

# %%
loss.backward()
a_slope, b_slope, c_slope, d_slope = a.grad, b.grad, c.grad, d.grad

# %%
flow(
    "Values go to the right, slopes come back to the left",
    [
        [
            Box("a", f"{a.data:g}", f"slope {a.grad:g}", 0),
            Box("b", f"{b.data:g}", f"slope {b.grad:g}", 1),
        ],
        [Box("c", f"a · b = {c.data:g}", f"slope {c.grad:g}", 2)],
        [Box("d", f"c + 1 = {d.data:g}", f"slope {d.grad:g}", 3)],
        [Box("loss", f"d² = {loss.data:g}", f"slope {loss.grad:g}", 4)],
    ],
    [
        ("a", "c", f"· {b.data:g}"),
        ("b", "c", f"· {a.data:g}"),
        ("c", "d", "· 1"),
        ("d", "loss", f"· {2 * d.data:g}"),
    ],
)

# %%
reveal(
    guess,
    {3: "a", 14: "b", 42: "c", 49: "d"}[round(a.grad)],
    f"""
Walk back from [the loss](#loss). d² grows 2 · d = {2 * d.data:g} times as fast as [d](#d). d grows exactly as fast
as [c](#c). And c = a · b grows {b.data:g} times as fast as [a](#a), because *a* is multiplied by *b*. Multiply
along the way: {2 * d.data:g} · 1 · {b.data:g} = **{a.grad:g}**. For [b](#b) it is {2 * d.data:g} · 1 · {a.data:g} =
{b.grad:g}. This is the **chain rule**: the slopes along a path are multiplied.
""",
)

# %% [markdown]
# ## Asking a number where it came from
#
# Since every number remembers how it was made, you can ask it. *Whence* is an old word for "from where", and this question gave
# the program its name.

# %%
receipt = a.why(of=loss)
say(f"""
`a.why(of=loss)` answers with a **receipt**:

```
{receipt}
```

It lists what was added up. Here that is a single term: *the slope that arrives from the right* times *the slope of this one step*.
The last line says what rounding left over: {"nothing, so the sum is exact" if receipt.residual == 0 else f"{receipt.residual:g}"}.
""")

# %% [markdown]
# When a number is used twice, two paths lead back to it. The slopes of different paths are **added**.

# %%
x = Value(3, label="x")
square = x * x
square.backward()
twice = x.grad
say(
    f"x · x with x = {x.data:g}: one path brings {x.data:g}, the other brings {x.data:g}, together {x.grad:g}."
)

# %% [markdown]
# ## How far does a slope reach?


# %%
def loss_at(a):
    return (a * 3 + 1) ** 2


whole = loss_at(3) - loss_at(2)
small = (loss_at(2.001) - loss_at(2)) / 0.001
say(f"""
With a slope of 42, does one more on *a* give 42 more loss? It gives {whole:g} more. A slope holds for small moves
only: a move of 0.001 changes the loss by {small:.3f} times that much. That is why training takes small steps.
""")

# %% [markdown]
# ## What is often said wrong
#
# The walk back is called **backpropagation**. *"Backpropagation … is a mechanism used to update the weights"*
# ([an answer on a forum](https://intellipaat.com/community/4160/updating-weights-in-backpropagation-algorithm)). But it changes no dial. It only finds the
# slopes: *a* is still 2. Turning the dials is the job of another part, the **optimizer**. The textbook
# [Deep Learning](https://www.deeplearningbook.org/contents/mlp.html) (Goodfellow, Bengio and Courville, section 6.5) warns of this mix-up.
#
# ## Your turn
#
# The same formula, (a · b + 1)², but now *a* = 4 and *b* = 1. Work out the slope for *a* by hand.

# %%
slope = 0.0  # your turn: the slope of the loss for a
p, q = Value(4), Value(1)
e = p * q + 1
(e**2).backward()
check(
    slope == p.grad,
    f"2 · d · b = 2 · {e.data:g} · {q.data:g} = {p.grad:g}.",
    {
        q.grad: "That is the slope for *b*. For *a*, the last factor is *b*.",
        2 * e.data * 3: "The last factor is *b*, and *b* is 1 now.",
        e.data**2: "That is the loss itself. Walk back from it.",
    }.get(slope, f"*d* is now {e.data:g}. The slope of d² is 2 · d; then comes the factor *b*."),
)

# %% [markdown]
# **Further.** `whence gradcheck` compares slopes with nudges, for any model. In the studio, *Cell* opens any number
# and shows what it was made from.
