import hashlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk import CFG, ChartParser

from whence.data.made.grammar import Grammar
from whence.data.made.stories import stories
from whence.errors import WhenceError

# Finite, with a beginning that is shared in part ("a", "ab" are told apart by "a." against "ab").
FINITE = {
    "s": {"<x> and <y>": 3, "no <y><y>": 1, "nay ": 2},
    "x": {"a.": 5, "ab<y>": 2, "<y>!": 1},
    "y": {"u": 1, "v": 2, "w ": 4},
}


def enumerated(rules, symbol):
    """Every string of a finite grammar with its probability, derivation by derivation."""
    total = sum(rules[symbol].values())
    found = []
    for text, weight in rules[symbol].items():
        parts = [
            enumerated(rules, part) if i % 2 else [(part, 1.0)]
            for i, part in enumerate(text.replace("<", ">").split(">"))
        ]
        for combination in itertools.product(*parts):
            string = "".join(s for s, _ in combination)
            found.append((string, weight / total * math.prod(p for _, p in combination)))
    return found


def test_a_finite_grammar_agrees_with_listing_all_it_can_say():
    grammar = Grammar(FINITE, start="s")
    said = enumerated(FINITE, "s")
    assert len({s for s, _ in said}) == len(said)  # no string twice: unambiguous
    assert sum(p for _, p in said) == pytest.approx(1)
    entropy = -sum(p * math.log2(p) for _, p in said)
    length = sum(p * len(s) for s, p in said)
    assert grammar.bits_per_story() == pytest.approx(entropy)
    assert grammar.bytes_per_story() == pytest.approx(length)
    assert grammar.entropy_rate() == pytest.approx(entropy / length)
    for string, p in said:
        assert grammar.log2_probability(string) == pytest.approx(math.log2(p))
    for prefix in {s[:n] for s, _ in said for n in range(len(s) + 1)}:
        p = sum(p for s, p in said if s.startswith(prefix))
        # What is shorter than the prefix can go on with another story; here none is so short.
        p += sum(
            q * r
            for s, q in said
            for t, r in said
            if prefix.startswith(s) and s != prefix and t.startswith(prefix[len(s) :])
        )
        assert 2 ** grammar.log2_probability(prefix) == pytest.approx(p)


def test_a_recursive_grammar_agrees_with_its_geometric_series():
    # n b's with P = (3/4)^n / 4: entropy of a geometric distribution, mean length 3 + 1.
    grammar = Grammar({"s": {"b<s>": 3, ".": 1}}, start="s")
    entropy = -math.log2(1 / 4) - 3 * math.log2(3 / 4)
    assert grammar.bits_per_story() == pytest.approx(entropy)
    assert grammar.bytes_per_story() == pytest.approx(4)
    assert grammar.log2_probability("bb.bb") == pytest.approx(4 * math.log2(3 / 4) - 2)
    assert grammar.log2_probability("bc") == -math.inf


def test_entropy_rate_of_the_stories_agrees_with_a_monte_carlo_estimate():
    grammar = stories()
    told = grammar.text(600_000, seed=3).split("\n")[:-1]
    bits = np.array([-grammar.log2_probability(story + "\n") for story in told])
    length = np.array([len(story) + 1 for story in told])
    rate = bits.sum() / length.sum()
    error = np.std(bits - rate * length) / np.sqrt(len(told)) / length.mean()
    assert abs(rate - grammar.entropy_rate()) < 4 * error
    assert error < 0.01 * rate
    assert bits.mean() == pytest.approx(grammar.bits_per_story(), rel=0.03)
    assert length.mean() == pytest.approx(grammar.bytes_per_story(), rel=0.03)


def test_the_scorer_adds_up_over_what_can_come_next():
    """Σ over bytes of P(prefix + byte) = P(prefix): it is a distribution, and a byte's share."""
    grammar = stories()
    text = grammar.text(2000, seed=4)
    letters = sorted(set(grammar.text(100_000, seed=0)) | {"\n"})
    for n in range(0, len(text), 13):
        whole = grammar.log2_probability(text[:n])
        parts = [2 ** (grammar.log2_probability(text[:n] + byte) - whole) for byte in letters]
        assert sum(parts) == pytest.approx(1)
        assert parts[letters.index(text[n])] > 0


def test_the_scorer_agrees_with_the_choices_that_were_made():
    """The generator's own derivation has the probability that the scorer finds in the text."""
    rng = np.random.default_rng(0)
    rules = {**FINITE, "s": {**FINITE["s"], "so <s>": 2}}
    grammar = Grammar(rules, start="s")

    def derive(symbol):
        weights = np.array(list(rules[symbol].values()))
        chosen = rng.choice(len(weights), p=weights / weights.sum())
        text, log2_p = "", math.log2(weights[chosen] / weights.sum())
        for i, part in enumerate(list(rules[symbol])[chosen].replace("<", ">").split(">")):
            inner, more = derive(part) if i % 2 else (part, 0.0)
            text, log2_p = text + inner, log2_p + more
        return text, log2_p

    for _ in range(200):
        text, log2_p = derive("s")
        assert grammar.log2_probability(text) == pytest.approx(log2_p)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_grammar_that_is_accepted_is_ambiguous(data):
    """Random grammars over two letters; those accepted have one parse of each string (nltk)."""
    names = ["s", "t", "u"]
    piece = st.sampled_from(["a", "b", "ab", "ba", "<t>", "<u>"])
    rules = {
        name: {
            "".join(items).replace("<s>", "a"): 1
            for items in data.draw(
                st.lists(st.lists(piece, min_size=1, max_size=3), min_size=1, max_size=3)
            )
        }
        for name in names
    }
    try:
        grammar = Grammar(rules, start="s")
    except WhenceError:
        return
    productions = [
        f"{name} -> " + " ".join(letters(text)) for name in names for text in rules[name]
    ]
    parser = ChartParser(CFG.fromstring(productions))
    for seed in range(3):
        text = grammar.text(40, seed)
        stories_in = [n for n in range(1, 12) if len(list(parser.parse(list(text[:n]))))]
        for n in stories_in:
            assert len(list(parser.parse(list(text[:n])))) == 1


def letters(text):
    """'ab<t>' → 'a' 'b' t, as nltk writes it."""
    for i, part in enumerate(text.replace("<", ">").split(">")):
        if i % 2:
            yield part
        else:
            yield from (f"'{letter}'" for letter in part)


def test_text_is_the_same_everywhere_and_a_longer_one_goes_on():
    grammar = stories()
    text = grammar.text(50_000, seed=7)
    assert len(text.encode()) == 50_000
    assert grammar.text(20_000, seed=7) == text[:20_000]
    assert "".join(grammar.stream(50_000, seed=7)) == text
    assert len(list(grammar.stream(50_000, seed=7))) > 2
    assert grammar.text(50_000, seed=8) != text
    assert grammar.text(0, seed=7) == ""
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "dd9ceba714f669f024059cf02786567ca133f31d8b61d5c5773c3f24c4e49c4a"
    )


def test_the_stories_keep_their_hero_their_wish_and_their_number():
    for story in stories().text(40_000, seed=1).split("\n")[:-1]:
        hero = story.split(" named ")[1].split(".")[0]
        assert story.count(hero) >= 1
        assert ("She " in story or " she " in story) == (" girl named " in story)
        wish = next(
            story.split(words)[1].split(".")[0]
            for words in ("wished for a ", "wanted a ", "dreamed of a ")
            if words in story
        )
        assert wish in story.split(" At last ")[1]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"t": {"a": 1}}, "no rule for its start"),
        ({"s": {}}, "needs alternatives"),
        ({"s": {"a": 0}}, "weight of at least 1"),
        ({"s": {"": 1}}, "empty"),
        ({"s": {"é": 1}}, "ASCII"),
        ({"s": {"<x>": 1}}, "<x>, which has no rule"),
        ({"s": {"<s>a": 1, "b": 1}}, "begin with itself"),
        ({"s": {"a": 1, "ab": 1}}, "told apart at their beginning: 'a' and 'ab'"),
        ({"s": {"<t>b": 1, "ac": 1}, "t": {"a": 1}}, "told apart"),
        ({"s": {"a<s><s>": 1, "b": 1}}, "grow without limit"),
        ({"s": {"a<s><s>": 2, "b": 1}}, "grow without limit"),
        ({"s": {"a<s>": 1}}, "grow without limit"),
    ],
)
def test_bad_grammars_are_refused_in_a_sentence(rules, message):
    with pytest.raises(WhenceError, match=message):
        Grammar(rules, start="s")


def test_a_negative_length_is_told():
    with pytest.raises(WhenceError, match="n_bytes is -1"):
        stories().text(-1, seed=0)
