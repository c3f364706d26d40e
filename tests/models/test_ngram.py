import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import MLE, KneserNeyInterpolated, Lidstone, Vocabulary
from nltk.util import everygrams, ngrams

from whence.errors import WhenceError
from whence.models.ngram.counts.counting import count_ngrams
from whence.models.ngram.model import NGram, NGramConfig
from whence.models.ngram.smoothing import discounts, kneser_ney

SMOOTHINGS = ["mle", "add-k", "kneser-ney"]
SHARED = Path(__file__).parents[2].parent / "shared" / "data"

# "I like to eat. I like pizza." with the full stop as end mark, and a start mark.
WORDS = ["<BOS>", "<EOS>", "I", "like", "to", "eat", "pizza", "<UNK>"]
ID = {word: i for i, word in enumerate(WORDS)}
MARKED = "<BOS> I like to eat <EOS> <BOS> I like pizza <EOS>"
PIZZA = [ID[word] for word in MARKED.split()]


def probability(model, word, *context):
    log_probs = model.log_probs(np.array([[ID[w] for w in context]], np.int64))
    return math.exp(log_probs[0, ID[word]])


def pizza(smoothing, unknown=False, order=2):
    config = NGramConfig(order=order, smoothing=smoothing)
    return NGram(config, len(WORDS) - (not unknown), start=ID["<BOS>"]).fit(np.array(PIZZA))


def test_maximum_likelihood_of_the_pizza_text():
    model = pizza("mle")
    assert probability(model, "I", "<BOS>") == 1
    assert probability(model, "like", "I") == 1
    assert probability(model, "to", "like") == pytest.approx(1 / 2)
    assert probability(model, "pizza", "like") == pytest.approx(1 / 2)
    assert probability(model, "<EOS>", "eat") == 1
    assert probability(model, "like", "like") == 0  # it never says "I like to like"
    assert model.count((ID["I"], ID["like"])) == 2
    assert model.count((ID["like"], ID["like"])) == 0


def test_add_one_of_the_pizza_text():
    assert probability(pizza("add-k"), "like", "I") == pytest.approx(3 / 8)
    assert probability(pizza("add-k", unknown=True), "like", "I") == pytest.approx(3 / 9)
    assert probability(pizza("add-k", unknown=True), "<UNK>", "I") == pytest.approx(1 / 9)


def test_one_mark_that_ends_and_starts_is_an_ordinary_token():
    words = MARKED.replace("<EOS> <BOS>", ".").replace("<BOS>", ".").replace("<EOS>", ".")
    ids = {word: i for i, word in enumerate(dict.fromkeys(words.split()))}
    text = np.array([ids[word] for word in words.split()])
    model = NGram(NGramConfig(smoothing="add-k"), len(ids)).fit(text)
    log_probs = model.log_probs(np.array([[ids["I"]]]))
    assert math.exp(log_probs[0, ids["like"]]) == pytest.approx(3 / 8)


def test_the_start_mark_is_read_but_never_predicted():
    model = pizza("kneser-ney", order=3)
    contexts = np.array([[ID["like"], ID["<EOS>"]], [ID["<EOS>"], ID["<BOS>"]]])
    log_probs = model.log_probs(contexts)
    assert (log_probs[:, ID["<BOS>"]] == -np.inf).all()
    assert log_probs[1, ID["I"]] == model.log_probs(np.array([[ID["<BOS>"]]]))[0, ID["I"]]
    scores = model.score(np.array(PIZZA))
    assert (scores[np.array(PIZZA) == ID["<BOS>"]] == 0).all()
    assert model.cross_entropy(np.array(PIZZA)) == pytest.approx(-scores.sum() / 9)


@pytest.mark.parametrize("smoothing", ["add-k", "kneser-ney"])
def test_smoothed_perplexity_is_finite_on_tiny_text_and_says_how(smoothing):
    for text in ([0], [0, 1], [2, 2, 2], [0, 1, 2, 0, 1]):
        for order in (1, 2, 5):
            model = NGram(NGramConfig(order, smoothing), 9).fit(np.array(text))
            assert math.isfinite(model.perplexity(np.array([8, 7, 0, 1, 2, 8])))
            if smoothing == "kneser-ney":
                assert any("too few n-grams to estimate discounts" in n for n in model.notes)
                assert (model.discounts[:, 1:] == (0.5, 1.0, 1.5)).all()


def test_maximum_likelihood_is_infinite_on_what_it_never_saw():
    model = NGram(NGramConfig(2, "mle"), 3).fit(np.array([0, 1, 0, 1]))
    assert model.perplexity(np.array([0, 1, 1])) == math.inf


@settings(max_examples=100, deadline=None)
@given(
    text=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    held_out=st.lists(st.integers(0, 6), min_size=1, max_size=12),
    order=st.integers(1, 5),
    smoothing=st.sampled_from(SMOOTHINGS),
    start=st.sampled_from([None, 0]),
)
def test_probabilities_sum_to_one_and_every_way_of_asking_agrees(
    text, held_out, order, smoothing, start
):
    if set(text) == {start}:
        smoothing = "add-k"
    model = NGram(NGramConfig(order, smoothing, k=0.3), 7, start).fit(np.array(text))
    tokens = np.array(held_out)
    every = model.all_log_probs(tokens)
    np.testing.assert_allclose(np.exp(every).sum(1), 1, rtol=1e-5)
    chosen = every[np.arange(len(tokens)), tokens]
    scores = model.score(tokens)
    predicted = tokens != start
    np.testing.assert_allclose(scores[predicted], chosen[predicted], rtol=1e-5)
    for i in range(len(tokens)):
        one = model.log_probs(tokens[None, :i])
        np.testing.assert_allclose(one[0], every[i], rtol=1e-5)
    logits = model(torch.tensor(tokens)[None])
    assert logits.shape == (1, len(tokens), 7)
    np.testing.assert_allclose(logits[0, :-1].numpy(), every[1:], rtol=1e-5)


def a_text(n=400, words=6, seed=0):
    """Text whose beginning occurs again, so that nothing is seen at its start alone."""
    tokens = np.random.default_rng(seed).integers(0, words, n) // 2 * 2 % words
    tokens[1::3] = tokens[0::3][: len(tokens[1::3])] // 2
    return np.concatenate([tokens, tokens[:10]])


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("smoothing", ["mle", "add-k"])
def test_agrees_with_nltk(order, smoothing):
    text = a_text()
    words = [str(t) for t in text]
    vocabulary = Vocabulary([str(i) for i in range(5)] * 2)  # nltk adds <UNK>: six outcomes
    oracle = MLE(order) if smoothing == "mle" else Lidstone(0.7, order)
    oracle.vocab = vocabulary
    oracle.fit([list(everygrams(words, max_len=order))])
    model = NGram(NGramConfig(order, smoothing, k=0.7), 6).fit(text)
    contexts = list({tuple(c) for c in ngrams(text.tolist(), order - 1)}) if order > 1 else [()]
    got = np.exp(model.log_probs(np.array(contexts, np.int64).reshape(len(contexts), -1)))
    expected = [[oracle.score(str(w), [str(t) for t in c]) for w in range(6)] for c in contexts]
    np.testing.assert_allclose(got[:, :5], np.array(expected)[:, :5], rtol=1e-5)
    if smoothing == "add-k":  # a context never seen: uniform, there as here
        unseen = [5] * max(1, order - 1)
        if order > 1:
            assert oracle.score("0", [str(t) for t in unseen]) == pytest.approx(1 / 6)
            assert math.exp(model.log_probs(np.array([unseen]))[0, 0]) == pytest.approx(1 / 6)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_kneser_ney_agrees_with_nltk(order):
    text = a_text(seed=order)
    words = [str(t) for t in text]
    oracle = KneserNeyInterpolated(order, discount=0.4)
    oracle.fit([list(everygrams(words, max_len=order))], [str(i) for i in range(6)])
    same = np.full((order, 4), 0.4)  # nltk has one discount, and none for the unigram
    same[:, 0], same[0] = 0, 0
    counts = count_ngrams(text, order, 6)
    model = NGram(NGramConfig(order), 6).fit(text)
    model.table = kneser_ney(counts, same)
    contexts = list({tuple(c) for c in ngrams(text.tolist(), order - 1)})[:40]
    contexts.append((5,) * (order - 1))
    got = np.exp(model.log_probs(np.array(contexts)))
    expected = [[oracle.score(str(w), [str(t) for t in c]) for w in range(5)] for c in contexts]
    np.testing.assert_allclose(got[:, :5], expected, rtol=1e-5)


def textbook_kneser_ney(text, order, D, V, word, context):
    """Chen and Goodman's formula, word for word, by dictionaries."""
    ngram_sets = {k: list(ngrams(text, k)) for k in range(1, order + 1)}

    def a(ngram):
        if len(ngram) == order:
            return ngram_sets[order].count(ngram)
        return len({g[0] for g in ngram_sets[len(ngram) + 1] if g[1:] == ngram})

    def p(context):
        k = len(context) + 1
        of = {w: a((*context, w)) for w in range(V)}
        total = sum(of.values())
        lower = 1 / V if not context else None
        if lower is None:
            lower = p(context[1:])
        if total == 0:
            return lower
        gamma = sum(D[k - 1][min(x, 3)] for x in of.values()) / total
        return max(of[word] - D[k - 1][min(of[word], 3)], 0) / total + gamma * lower

    return p(tuple(context))


def test_three_discounts_agree_with_the_formula():
    text = np.random.default_rng(5).zipf(1.6, 300) % 7
    counts = count_ngrams(text, 3, 8)
    D = np.array([[0, 0.4, 0.8, 1.1], [0, 0.6, 1.2, 1.4], [0, 0.7, 1.1, 1.6]])
    model = NGram(NGramConfig(3), 8).fit(text)
    model.table = kneser_ney(counts, D)
    for context in [(1, 1), (1, 2), (0, 6), (7, 1), (7, 7)]:
        got = np.exp(model.log_probs(np.array([context])))[0]
        expected = [textbook_kneser_ney(text.tolist(), 3, D, 8, w, context) for w in range(8)]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_discounts_are_estimated_as_chen_and_goodman_say():
    # Longest n-grams (here unigrams): four seen once, three twice, two three times, one four times.
    text = np.repeat(np.arange(10), [1, 1, 1, 1, 2, 2, 2, 3, 3, 4])
    D, notes = discounts(count_ngrams(text, 1, 10))
    Y = 4 / (4 + 2 * 3)
    expected = [0, 1 - 2 * Y * 3 / 4, 2 - 3 * Y * 2 / 3, 3 - 4 * Y * 1 / 2]
    np.testing.assert_allclose(D[0], expected)
    assert notes == []


def test_state_goes_through_plain_arrays(tmp_path):
    from safetensors.numpy import load_file, save_file

    text = a_text()
    for smoothing in SMOOTHINGS:
        config = NGramConfig(3, smoothing, k=0.2)
        model = NGram(config, 6).fit(text)
        save_file(model.state(), tmp_path / "n.safetensors")
        loaded = NGram(config, 6).load_state(load_file(tmp_path / "n.safetensors"))
        np.testing.assert_array_equal(loaded.all_log_probs(text), model.all_log_probs(text))
        assert loaded.count((0, 0)) == model.count((0, 0))
    short = NGram(config, 6).fit(text[:1])  # of the longer n-grams it has none
    loaded = NGram(config, 6).load_state(short.state())
    np.testing.assert_array_equal(loaded.all_log_probs(text), short.all_log_probs(text))
    with pytest.raises(WhenceError, match="order 3 over 6 tokens"):
        NGram(NGramConfig(2), 6).load_state(model.state())
    with pytest.raises(WhenceError, match="lack first"):
        NGram(config, 6).load_state({k: v for k, v in model.state().items() if k != "first"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token", 6),  # outside the vocabulary
        ("first", 10**6),  # outside the nodes
        ("bounds", -1),
        ("bounds", None),
        ("log_prob", None),
        ("count", None),
    ],
)
def test_a_state_that_leads_outside_itself_is_refused(name, value):
    config = NGramConfig(3)
    state = {k: v.copy() for k, v in NGram(config, 6).fit(a_text()).state().items()}
    if value is None:
        state[name] = state[name][:-1]
    else:
        state[name][len(state[name]) // 2] = value
    with pytest.raises(WhenceError):
        NGram(config, 6).load_state(state)


def test_sampling_from_the_distribution_gives_back_the_counts():
    model = pizza("mle")
    torch.manual_seed(0)
    follow = torch.distributions.Categorical(logits=model(torch.tensor([[ID["like"]]]))[0, 0])
    drawn = follow.sample(torch.Size([1000]))
    assert set(drawn.tolist()) == {ID["to"], ID["pizza"]}
    assert abs((drawn == ID["to"]).float().mean() - 0.5) < 0.06


@settings(max_examples=40, deadline=None)
@given(
    text=st.lists(st.integers(0, 3), min_size=2, max_size=40),
    order=st.integers(1, 4),
    start=st.sampled_from([None, 0]),
)
def test_leaving_one_out_is_fitting_without_it(text, order, start):
    """Taking the event away from the counts by hand gives the same distribution."""
    # The text begins with a mark of its own: what the beginning cuts off isn't known to be cut.
    tokens = np.array([4 if start is None else start, *text])
    model = NGram(NGramConfig(order), 5, start).fit(tokens)
    got = np.exp(model.all_log_probs(tokens, leave_one_out=True))
    np.testing.assert_allclose(got.sum(1), 1, rtol=1e-5)
    for i in range(order - 1 if start is None else 1, len(tokens)):
        expected = without_event(model, tokens, i)
        np.testing.assert_allclose(got[i], expected, rtol=1e-4, atol=1e-7)


def without_event(model, tokens, i):
    """The distribution at i by Kneser–Ney over the n-grams of all positions but i."""
    order, start = model.config.order, model.start

    def event(j, k):
        """The k-gram that ends at j, unless it is cut."""
        ngram = tuple(tokens[max(0, j - k + 1) : j + 1].tolist())
        cut = len(ngram) < k or start in ngram[1:] or ngram[-1] == start
        return None if cut else ngram

    def reach(j):
        return max((k for k in range(1, order + 1) if event(j, k)), default=0)

    # Each position is one event of the longest length that it reaches.
    occurrences = {}
    for j in range(len(tokens)):
        if j != i and reach(j):
            occurrences.setdefault(event(j, reach(j)), []).append(j)

    def a(ngram):
        if len(ngram) == order or ngram[0] == start:
            return len(occurrences.get(ngram, []))
        longer = {g for g in occurrences if len(g) > len(ngram) and g[-len(ngram) :] == ngram}
        return len({g[-len(ngram) - 1] for g in longer})

    V = model.vocab_size - (start is not None)
    p = np.full(model.vocab_size, 1 / V)
    if start is not None:
        p[start] = 0
    context = []
    for j in range(i - 1, max(-1, i - order), -1):
        context.insert(0, int(tokens[j]))
        if tokens[j] == start:
            break
    for k in range(len(context) + 1):
        prefix = tuple(context[len(context) - k :])
        counts = np.array([0 if w == start else a((*prefix, w)) for w in range(model.vocab_size)])
        if counts.sum():
            D = model.discounts[k][np.minimum(counts, 3)]
            p = (counts - D) / counts.sum() + D.sum() / counts.sum() * p
    return p


def test_windows_leave_one_out_too_and_other_smoothings_refuse():
    text = a_text()
    model = NGram(NGramConfig(3), 6).fit(text)
    whole = model.all_log_probs(text, leave_one_out=True)
    windows = model.leave_one_out(text[None, :-1], text[None, 1:])
    np.testing.assert_allclose(windows[0, 2:], whole[3:], rtol=1e-5)
    plain = model.all_log_probs(text)
    at = np.arange(len(text))
    assert whole[at, text].mean() < plain[at, text].mean()
    half = model.all_log_probs(text, dtype=np.float16)
    np.testing.assert_allclose(half, plain, rtol=1e-3)
    for other in ("mle", "add-k"):
        with pytest.raises(WhenceError, match="needs Kneser–Ney counts"):
            NGram(NGramConfig(2, other), 6).fit(text).all_log_probs(text, leave_one_out=True)


def test_real_text_reaches_the_known_figures():
    """Kneser–Ney of order 4 and 5 on characters, the last tenth held out, in windows of 64."""
    path = SHARED / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip("tinyshakespeare.txt isn't there")
    letters, tokens = np.unique(np.frombuffer(path.read_bytes(), np.uint8), return_inverse=True)
    cut = len(tokens) * 9 // 10
    held_out = tokens[cut:][: (len(tokens) - cut - 1) // 64 * 64 + 1]
    inputs = torch.tensor(held_out[:-1]).view(-1, 64)
    targets = torch.tensor(held_out[1:]).view(-1, 64)
    losses = {}
    for order in (4, 5):
        model = NGram(NGramConfig(order), len(letters)).fit(tokens[:cut].astype(np.uint8))
        logits = model(inputs)
        losses[order] = torch.nn.functional.cross_entropy(
            logits.view(-1, len(letters)), targets.flatten()
        ).item()
    assert losses[4] == pytest.approx(1.7535, abs=1e-3)
    assert losses[5] == pytest.approx(1.608, abs=1e-3)


def test_add_one_makes_a_trigram_worse_than_a_bigram_on_words():
    """Smoothing matters more than order: add-one spoils the trigram, Kneser–Ney doesn't."""
    path = SHARED / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip("tinyshakespeare.txt isn't there")
    words = path.read_text(encoding="utf-8").split()
    cut = len(words) * 9 // 10
    ids = {w: i for i, w in enumerate(dict.fromkeys(words[:cut]))}
    tokens = np.array([ids.get(w, len(ids)) for w in words])
    train, held_out = tokens[:cut], tokens[cut:]

    def perplexity(order, smoothing):
        model = NGram(NGramConfig(order, smoothing), len(ids) + 1).fit(train)
        return model.perplexity(held_out)

    assert perplexity(3, "add-k") > perplexity(2, "add-k") > perplexity(1, "add-k")
    kneser_ney = [perplexity(order, "kneser-ney") for order in (1, 2, 3)]
    assert all(better < worse for worse, better in pairwise(kneser_ney))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": 0}, "order is 0"),
        ({"k": 0.0}, "k is 0.0"),
        ({"smoothing": "laplace"}, "one of mle, add-k, kneser-ney"),
        ({"memory_mb": 0}, "memory_mb is 0"),
    ],
)
def test_a_config_out_of_range_is_one_sentence(fields, message):
    with pytest.raises(WhenceError, match=message):
        NGramConfig(**fields)


def test_asking_before_fitting_and_foreign_tokens_are_told():
    model = NGram(NGramConfig(), 3)
    with pytest.raises(WhenceError, match="call fit"):
        model.score(np.array([0]))
    model.fit(np.array([0, 1]))
    with pytest.raises(WhenceError, match="Token id 3 is outside"):
        model(torch.tensor([[3]]))
    with pytest.raises(WhenceError, match="outside the vocabulary of 3"):
        NGram(NGramConfig(), 3, start=3)
