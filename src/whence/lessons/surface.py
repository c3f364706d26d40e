"""A loss over two dials as a surface, and the way down it."""

from collections.abc import Callable, Sequence

from whence.lessons.film import Film, dot, film
from whence.lessons.svg import WIDTH, figure, group, label

CELLS = 18  # along each side
SIDE, DEPTH, HEIGHT, TOP = 285.0, 78.0, 190.0, 62.0


def descent(
    title: str,
    loss: Callable[[float, float], float],
    x: tuple[str, float, float],
    y: tuple[str, float, float],
    way: Sequence[tuple[float, float, str]],
) -> Film:
    """Draw a loss over two dials as a surface, and a ball that goes down it.

    Args:
        title: what is seen.
        loss: of the two dials.
        x: the first dial: its name, and from where to where it is drawn.
        y: the second.
        way: the dials at each step, and what is told then.

    Example:
        >>> bowl = lambda a, b: a * a + b * b
        >>> print(descent("a bowl", bowl, ("a", -1, 1), ("b", -1, 1), [(1, 1, "loss 2")]))
        a bowl
          loss 2
    """

    def corner(i: int, j: int) -> tuple[float, float]:
        share = i / CELLS, j / CELLS
        return x[1] + share[0] * (x[2] - x[1]), y[1] + share[1] * (y[2] - y[1])

    heights = [[loss(*corner(i, j)) for j in range(CELLS + 1)] for i in range(CELLS + 1)]
    low, high = min(map(min, heights)), max(map(max, heights))

    def place(a: float, b: float, value: float) -> tuple[float, float]:
        u, v = (a - x[1]) / (x[2] - x[1]), (b - y[1]) / (y[2] - y[1])
        up = HEIGHT * (value - low) / ((high - low) or 1.0)
        return WIDTH / 2 + SIDE * (u - v), TOP + HEIGHT + DEPTH * (u + v) - up

    tiles = []
    for i, j in sorted(((i, j) for i in range(CELLS) for j in range(CELLS)), key=sum):  # far first
        around = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
        spots = [place(*corner(*at), heights[at[0]][at[1]]) for at in around]
        mean = sum(heights[a][b] for a, b in around) / 4
        share = 0.1 + 0.55 * (mean - low) / ((high - low) or 1.0)
        points = " ".join(f"{a:.0f},{b:.0f}" for a, b in spots)
        tiles.append(f'<polygon class="tile" fill-opacity="{share:.2f}" points="{points}"/>')
    ends = TOP + HEIGHT + 2 * DEPTH
    words = [
        label(WIDTH / 2 + side * SIDE / 2, ends - DEPTH / 2 + 34, text, "dim", anchor)
        for side, text, anchor in (
            (0.8, f"{x[0]}, {figure(x[1])} to {figure(x[2])} ↘", "start"),
            (-0.8, f"↙ {y[0]}, {figure(y[1])} to {figure(y[2])}", "end"),
        )
    ]
    moments = []
    for now, (_, _, told) in enumerate(way):
        spots = [place(a, b, loss(a, b)) for a, b, _ in way[: now + 1]]
        trail = " ".join(f"{a:.1f},{b:.1f}" for a, b in spots)
        line = f'<polyline class="trail" points="{trail}"/>'
        moments.append(([group("the-ball", [line, dot(*spots[-1])], 1)], told))
    stays = [group("the-surface", tiles, 0), *words]
    return film(title, ends + 24, stays, moments, ("the-surface", "the-ball"))
