"""Pictures that move: what is drawn at each moment of a computation, and its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whence.lessons.charts import Axes, Points, axes_of
from whence.lessons.svg import Picture, document, group, slug
from whence.lessons.talk import in_print


@dataclass(frozen=True)
class Frame:
    """A moment of a film.

    Attributes:
        svg: what is drawn at that moment, over what stays.
        told: what happens, with its numbers.

    Example:
        >>> Frame("<g/>", "step 0: the error is 20.25").told
        'step 0: the error is 20.25'
    """

    svg: str
    told: str


@dataclass(frozen=True)
class Film(Picture):
    """A picture with moments; where nothing can move, it shows the last.

    Attributes:
        frames: the moments in order.

    Example:
        >>> len(moving("down", {"hill": [(0, 1)]}, [({"ball": (0, 1)}, "step 0")], "a", "b").frames)
        1
    """

    frames: tuple[Frame, ...] = ()


def film(
    title: str,
    height: float,
    stays: Sequence[str],
    moments: Sequence[tuple[Sequence[str], str]],
    blocks: Sequence[str] = (),
) -> Film:
    """Make a film.

    Args:
        title: what is seen.
        height: of the picture.
        stays: the parts that don't move.
        moments: the parts that do, at each moment, and what is told then.
        blocks: names of the parts that a word of the prose can light up.

    Example:
        >>> print(film("a dot", 100, [], [(["<circle r='1'/>"], "small"), ([], "gone")]))
        a dot
          small
          gone
    """
    frames = tuple(
        Frame(f'<g class="moves">{"".join(parts)}</g>', in_print(told)) for parts, told in moments
    )
    return Film(
        document(title, height, [*stays, frames[-1].svg], f"{len(frames)} moments"),
        "\n".join([title, *(f"  {frame.told}" for frame in frames)]),
        ("moment", "what happens"),
        [(i, frame.told) for i, frame in enumerate(frames)],
        tuple(blocks),
        frames,
    )


def moving(
    title: str,
    lines: Mapping[str, Points],
    moments: Sequence[tuple[Mapping[str, tuple[float, float]], str]],
    x: str,
    y: str,
    *,
    trail: bool = True,
) -> Film:
    """Draw lines that stay, and dots that move along them.

    Args:
        title: what is seen.
        lines: (x, y) pairs of each line, by its label.
        moments: where each dot is, by its label, and what is told; every moment has the same dots.
        x: what runs along the lower edge.
        y: what runs up the left edge.
        trail: whether a dot leaves a trail.

    Example:
        >>> hill = [(a, a * a) for a in (-1.0, 0.0, 1.0)]
        >>> print(moving("down", {"hill": hill}, [({"ball": (1.0, 1.0)}, "step 0")], "a", "b"))
        down
          step 0
    """
    dots = list(moments[0][0])
    every = [pair for pairs in lines.values() for pair in pairs]
    every += [where[name] for where, _ in moments for name in dots]
    axes = axes_of(
        {**dict.fromkeys(lines, "line"), **dict.fromkeys(dots, "points")},
        ([a for a, _ in every], x, False),
        ([b for _, b in every], y, False),
    )

    def path(pairs: Points) -> str:
        return " ".join(f"{axes.across(a):.1f},{axes.up(b):.1f}" for a, b in pairs)

    stays = [
        group(slug(name), [f'<polyline class="curve" points="{path(pairs)}"/>'], i, name)
        for i, (name, pairs) in enumerate(lines.items())
    ]
    drawn = []
    for now, (where, told) in enumerate(moments):
        parts = []
        for i, name in enumerate(dots, len(lines)):
            behind = [before[name] for before, _ in moments[:now]] if trail else []
            parts.append(
                group(
                    slug(name),
                    [
                        dot(*_at(axes, where[name])),  # first: it stays the same, and glides
                        *(dot(*_at(axes, pair), 3.0) for pair in behind),
                    ],
                    i,
                )
            )
        drawn.append((parts, told))
    blocks = [slug(name) for name in (*lines, *dots)]
    return film(title, axes.height, [*axes.parts, *stays], drawn, blocks)


def _at(axes: Axes, pair: tuple[float, float]) -> tuple[float, float]:
    return axes.across(pair[0]), axes.up(pair[1])


def dot(x: float, y: float, radius: float = 7.0) -> str:
    """Return a dot that moves."""
    return f'<circle class="fill ball" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
