"""One word reads the others: scores, shares, and values that are handed over."""

from collections.abc import Sequence

from whence.lessons.film import Film, dot, film
from whence.lessons.svg import WIDTH, figure, group, label, slug

ABOVE, BELOW = 92.0, 300.0  # where the words stand, and the one that reads


def passing(
    title: str,
    words: Sequence[str],
    reader: int,
    products: Sequence[float],
    divisor: float,
    shares: Sequence[float],
    result: Sequence[float],
) -> Film:
    """Show step by step how a word reads the others.

    Args:
        title: what is seen.
        words: of the sentence.
        reader: the place of the word that reads.
        products: of its query with each word's key.
        divisor: what the products are divided by.
        shares: what softmax makes of that.
        result: the values times their shares, added up.

    Example:
        >>> film = passing("a reads", ["a", "b"], 0, [2.0, 0.0], 2.0, [0.73, 0.27], [0.5])
        >>> len(film.frames)
        5
    """
    room = (WIDTH - 90) / max(1, len(words) - 1)
    spots = [45 + room * i for i in range(len(words))]
    middle = WIDTH / 2
    who = words[reader]
    stays = [
        label(x, ABOVE, word, "title" if i == reader else "", "middle")
        for i, (x, word) in enumerate(zip(spots, words, strict=True))
    ]
    stays += [label(middle, BELOW + 26, who, "title", "middle")]

    def line(i: int, width: float) -> str:
        far = f'x1="{spots[i]:.1f}" y1="{ABOVE + 26:.0f}" x2="{middle:.1f}" y2="{BELOW:.0f}"'
        return f'<line class="pass" {far} stroke-width="{width:.2f}"/>'

    def drawn(known: int, shared: bool, handed: bool) -> list[str]:
        parts = []
        for i, word in enumerate(words):
            score = products[i] / divisor
            text = "" if i >= known else f"{shares[i]:.1%}" if shared else f"{score:.1f}"
            width = 0.0 if i >= known else 14 * shares[i] if shared else 0.8
            at = (middle, BELOW) if handed else (spots[i], ABOVE + 26)
            ball = dot(*at, 10 * shares[i] if shared and shares[i] > 0.005 else 0.0)
            below = label(spots[i], ABOVE + 17, text.replace("-", "−"), "small dim", "middle")
            parts.append(group(f"{slug(word)}-{i + 1}", [line(i, width), below, ball], 0))
        return parts

    told = [(drawn(0, False, False), f"“{who}” has a query. It meets the key of every word.")]
    for i, word in enumerate(words):
        score = products[i] / divisor
        what = f"“{word}”: q · k = {products[i]:.2f}, divided by {figure(divisor)} is {score:.2f}"
        told.append((drawn(i + 1, False, False), what))
    best = max(range(len(words)), key=shares.__getitem__)
    n = len(words)
    told.append(
        (
            drawn(n, True, False),
            f"softmax: “{words[best]}” gets {shares[best]:.2%} of the attention",
        )
    )
    numbers = ", ".join(f"{v:.2f}" for v in result[:3])
    numbers += ", …" if len(result) > 3 else ""
    added = f"values times shares, added up: “{who}” becomes ({numbers})"
    told.append((drawn(n, True, True), added))
    return film(title, BELOW + 48, stays, told)
