"""The grammar of the built-in stories: English enough to read, small enough to know exactly.

What there is to learn, from near to far: spelling; words; sentences; that "a fox that two birds see
is tired" (number, across clauses in clauses); he or she, his or her, from a name; the hero's name
through the whole story; and what the hero wished for, which comes true at the end.
"""

from functools import cache

from whence.data.made.grammar import Grammar

Rules = dict[str, dict[str, int]]

HEROES = {
    "girl": {"Lily": 8, "Anna": 6, "Mia": 4, "Rosa": 2, "Zoe": 1},
    "boy": {"Tom": 8, "Ben": 6, "Max": 4, "Sam": 2, "Finn": 1},
}
WISHES = {
    "red ball": 8,
    "blue kite": 6,
    "little boat": 5,
    "silver bell": 4,
    "warm coat": 3,
    "golden key": 3,
    "big drum": 2,
    "torn map": 2,
    "green lamp": 1,
    "wooden flute": 1,
}
ANIMALS = {
    "fox": ("foxes", 7),
    "bird": ("birds", 7),
    "cat": ("cats", 6),
    "dog": ("dogs", 6),
    "mouse": ("mice", 4),
    "bear": ("bears", 3),
    "horse": ("horses", 3),
    "goose": ("geese", 2),
    "sheep": ("sheep", 1),
}


@cache
def stories() -> Grammar:
    """The grammar of the built-in stories.

    Example:
        >>> print(stories().text(74, seed=0))
        This is the story of a curious girl named Anna. She wished for a red ball.
    """
    rules = {**_openings(), **_words(), **_clauses()}
    for child, heroes in HEROES.items():
        for hero in heroes:
            rules |= _tale(
                hero, *(("She", "she", "her") if child == "girl" else ("He", "he", "his"))
            )
    return Grammar(rules, start="story")


def _openings() -> Rules:
    return {
        "story": {
            "Once upon a time there <lived> a <trait> <child>": 6,
            "Long ago there <lived> a <trait> <child>": 3,
            "In a house <beside> the <place> there <lived> a <trait> <child>": 3,
            "This is the story of a <trait> <child>": 2,
        },
        "lived": {"lived": 2, "was": 3},
        "child": {"girl named <girl>": 1, "boy named <boy>": 1},
        **{
            child: {f"{hero}. <{hero}>\n": weight for hero, weight in heroes.items()}
            for child, heroes in HEROES.items()
        },
    }


def _words() -> Rules:
    return {
        "trait": {"little": 6, "kind": 4, "brave": 4, "clever": 3, "shy": 2, "curious": 1},
        "place": {
            "forest": 6,
            "river": 5,
            "sea": 4,
            "hill": 3,
            "market": 2,
            "mill": 2,
            "bridge": 1,
        },
        "beside": {"near": 4, "behind": 3, "beyond": 2, "by": 2},
        "state": {
            "tired": 5,
            "hungry": 5,
            "happy": 4,
            "asleep": 3,
            "cold": 2,
            "afraid": 2,
            "lost": 1,
        },
        "weather": {"sunny": 5, "rainy": 3, "windy": 2, "cold": 2, "foggy": 1},
        "time": {"morning": 5, "day": 4, "evening": 2, "night": 1},
        "food": {"bread": 5, "apples": 4, "cheese": 3, "honey": 2, "soup": 2, "a cake": 1},
        "looking": {
            "looked <beside> the <place>": 4,
            "asked the people at the <place>": 2,
            "followed the road to the <place>": 3,
            "waited until <time>": 1,
        },
        "answer": {
            "nobody knew": 4,
            "it was too late": 2,
            "there was only <food>": 3,
            "the door was closed": 2,
            "a <animal> had taken it": 2,
        },
        "animal": {animal: weight for animal, (_, weight) in ANIMALS.items()},
        "animals": dict(ANIMALS.values()),
    }


def _clauses() -> Rules:
    """One animal is, several are; a clause inside remembers which it was called for."""
    return {
        "clause": {"a <animal><one>": 3, "two <animals><several>": 2},
        "one": {" is <state>": 4, " that <seen> is <state>": 2},
        "several": {" are <state>": 4, " that <seen> are <state>": 2},
        "seen": {"a <animal><one that sees>": 3, "two <animals><several that see>": 2},
        "one that sees": {"<verb>s": 4, " that <seen> <verb>s": 1},
        "several that see": {"<verb>": 4, " that <seen> <verb>": 1},
        "verb": {" see": 4, " like": 3, " hear": 2, " follow": 2, " help": 1},
    }


def _tale(hero: str, She: str, she: str, her: str) -> Rules:
    rules: Rules = {
        hero: {
            f"{She} wished for a <{hero} wish>": 4,
            f"More than anything, {she} wanted a <{hero} wish>": 3,
            f"Every night {she} dreamed of a <{hero} wish>": 2,
        },
        f"{hero} wish": {
            f"{wish}. <{hero} sets out><{hero} event><{hero} more><{hero} finds {wish}>": weight
            for wish, weight in WISHES.items()
        },
        f"{hero} sets out": {
            f"One <weather> <time> {hero} went to the <place>.": 4,
            f"So {hero} packed <food> and walked to the <place>.": 3,
            f"Then, one <weather> <time>, {she} set out.": 2,
        },
        f"{hero} more": {f"<{hero} event><{hero} more>": 3, " At last ": 2},
        f"{hero} event": {
            f" {She} <looking>, but <answer>.": 5,
            f" {hero} met a <animal> who said that <clause>.": 4,
            f" On the way {she} saw that <clause>.": 3,
            f' "Have you seen {her} <animal>?" {she} asked {her} mother.': 1,
            f" Later, {hero} shared <food> with a <animal>.": 2,
        },
    }
    for wish in WISHES:
        rules[f"{hero} finds {wish}"] = {
            f"{hero} found the {wish} <beside> the <place>. <{hero} is glad>": 4,
            f"a <animal> gave {hero} the {wish}. <{hero} is glad>": 3,
            f"{she} made a {wish} from nothing but <food>. <{hero} is glad>": 1,
        }
    rules[f"{hero} is glad"] = {
        f"{hero} was so happy that {she} danced all <time>.": 3,
        f"{She} took it home to {her} mother.": 3,
        f"And {hero} never wished for anything again.": 2,
    }
    return rules
