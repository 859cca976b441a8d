from __future__ import annotations

import re
from collections import Counter
from random import Random
from string import Formatter

import numpy as np
import pytest

from nasctl.data.pairs import Pair
from nasctl.data.scenes import EDITS, MIN_PAIRS, Scene, apply, concepts, draw_scene, label, scenes, synonyms
from nasctl.data.scenes_lexicon import CAPTIONS, GENRES, NEWS, PLANS, Genre
from nasctl.errors import UsageError
from nasctl.files import digest

PAIRS = 1500

GOLDEN = {
    "demo-sick": "4501decc5ca5c34b",
    "demo-stsb": "0673dcc1a6448eb8",
    "demo-mrpc": "c2a7a6ce3e4ab62d",
}


@pytest.fixture(scope="module", params=sorted(GENRES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def corpus(name: str) -> dict[str, list[Pair]]:
    return scenes(name, PAIRS)


def whole(corpus: dict[str, list[Pair]]) -> list[Pair]:
    return [pair for split in corpus.values() for pair in split]


def words(sentence: str) -> list[str]:
    return re.findall(r"[\w'-]+|[,.]", sentence.lower())


def same_words(pair: Pair) -> bool:
    return Counter(words(pair.first)) == Counter(words(pair.second))


def labels(pairs: list[Pair]) -> np.ndarray:
    return np.array([float(pair.label) for pair in pairs])


# --- the corpora ------------------------------------------------------------------------------------------------------


def test_corpora_are_the_same_everywhere(name, corpus):
    rows = {split: [[row.id, row.first, row.second, row.label] for row in rows] for split, rows in corpus.items()}
    assert digest(rows) == GOLDEN[name]


def test_splits_hold_70_15_15_percent(corpus):
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 1050, "dev": 225, "test": 225}


@pytest.mark.parametrize("pairs", [MIN_PAIRS, 21, 33])
def test_every_split_of_a_small_corpus_has_pairs(pairs):
    sizes = [len(rows) for rows in scenes("demo-sick", pairs).values()]
    assert sum(sizes) == pairs
    assert min(sizes) >= 3


def test_a_shorter_corpus_is_the_beginning_of_a_longer_one(name, corpus):
    assert whole(scenes(name, 100)) == whole(corpus)[:100]


def test_no_pair_occurs_twice_in_either_order(corpus):
    rows = whole(corpus)
    assert len({row.id for row in rows}) == PAIRS
    assert len({frozenset((row.first.lower(), row.second.lower())) for row in rows}) == PAIRS
    assert all(row.first.lower() != row.second.lower() for row in rows)


def test_a_pair_that_is_drawn_again_is_passed_over(monkeypatch):
    texts = [f"Scene {number // 2}" for number in range(200)]

    def draw_pair(genre: Genre, random: Random, row_id: str) -> Pair:
        first, second = random.sample((texts.pop(0), "Scene"), 2)
        return Pair(row_id, first, second, "1.0")

    monkeypatch.setattr("nasctl.data.scenes.draw_pair", draw_pair)
    rows = whole(scenes("demo-sick", MIN_PAIRS))
    assert len({frozenset((row.first, row.second)) for row in rows}) == MIN_PAIRS
    assert [row.id for row in rows] == [f"demo-sick-{number:05d}" for number in range(1, MIN_PAIRS + 1)]


def test_sentences_are_written_as_people_write_them(name, corpus):
    stop = "" if name == "demo-sick" else "."
    for row in whole(corpus):
        for sentence in (row.first, row.second):
            assert re.fullmatch(rf"[A-Z](?:[a-z-]|,? (?=[A-Za-z])|(?<= )[A-Z]|(?<=-)[a-z])*{re.escape(stop)}", sentence)
            assert not re.search(r"\b(a [aeiou]|(\w+) \2\b)", sentence.lower()), sentence


def test_vocabulary_is_varied(corpus):
    assert len({word for row in whole(corpus) for word in words(f"{row.first} {row.second}")} - {",", "."}) >= 150


def test_scores_have_one_decimal_and_span_the_scale():
    for name, lowest, highest in (("demo-sick", 1.0, 5.0), ("demo-stsb", 0.0, 5.0)):
        rows = whole(scenes(name, PAIRS))
        assert all(re.fullmatch(r"\d\.\d", row.label) for row in rows)
        scores = labels(rows)
        assert lowest <= scores.min() < lowest + 0.3
        assert highest - 0.3 < scores.max() <= highest
        assert len(set(scores)) >= 15


def test_two_thirds_of_the_news_are_paraphrases():
    rows = whole(scenes("demo-mrpc", PAIRS))
    assert {row.label for row in rows} == {"0", "1"}
    assert 0.60 <= labels(rows).mean() <= 0.72


def test_length_decides_nothing(corpus):
    rows = whole(corpus)
    difference = [abs(len(words(row.first)) - len(words(row.second))) for row in rows]
    assert abs(np.corrcoef(difference, labels(rows))[0, 1]) < 0.1


def test_the_order_of_the_sentences_decides_nothing(corpus):
    rows = whole(corpus)
    difference = [len(words(row.first)) - len(words(row.second)) for row in rows]
    assert abs(np.corrcoef(difference, labels(rows))[0, 1]) < 0.1


def test_the_same_words_are_scored_high_and_low(corpus):
    rows = whole(corpus)
    scores = labels([row for row in rows if same_words(row)])
    assert 0.08 < len(scores) / len(rows) < 0.25
    assert 0.15 < (scores >= labels(rows).max() - 0.3).mean() < 0.5
    assert scores.std() > 0.25 * np.ptp(labels(rows))


def test_shared_words_alone_say_something_but_not_all(corpus):
    rows = whole(corpus)
    overlap = [len({*words(row.first)} & {*words(row.second)}) / len({*words(row.first + row.second)}) for row in rows]
    assert 0.1 < np.corrcoef(overlap, labels(rows))[0, 1] < 0.6


@pytest.mark.parametrize(
    ("asked", "pairs", "message", "hint"),
    [
        ("demo-sik", PAIRS, "no generated corpus demo-sik", "did you mean demo-sick"),
        ("demo-sick", MIN_PAIRS - 1, "demo-sick: 19 pairs are too few", "pairs=20 or more"),
    ],
)
def test_what_cannot_be_generated_is_said(asked, pairs, message, hint):
    with pytest.raises(UsageError, match=message) as error:
        scenes(asked, pairs)
    assert hint in error.value.hint


# --- edits ------------------------------------------------------------------------------------------------------------

CHASE = Scene(
    CAPTIONS,
    CAPTIONS.topics[1],
    CAPTIONS.frames[0],
    {
        "negation": "",
        "agent": "dog",
        "agent_modifier": "small",
        "action": "chasing",
        "patient": "cat",
        "patient_modifier": "wet",
        "place": "in the park",
        "time": "at night",
    },
)
REPAIR = draw_scene(CAPTIONS, Random(0))
while REPAIR.reversible():
    REPAIR = draw_scene(CAPTIONS, Random(REPAIR.sentence()))


@pytest.mark.parametrize(
    ("edits", "sentence"),
    [
        ("", "A small dog is chasing a wet cat in the park at night"),
        ("swap_roles", "A wet cat is chasing a small dog in the park at night"),
        ("swap_modifiers", "A wet dog is chasing a small cat in the park at night"),
        ("swap_roles swap_modifiers", "A small cat is chasing a wet dog in the park at night"),
        ("negate", "A small dog is not chasing a wet cat in the park at night"),
        ("negate negate", "A small dog is chasing a wet cat in the park at night"),
        ("drop_modifier drop_modifier", "A dog is chasing a cat in the park at night"),
    ],
)
def test_edits_do_what_they_say(edits, sentence):
    edited, _ = apply(edits.split(), CHASE, Random(0))
    assert edited is not None
    assert edited.sentence() == sentence


@pytest.mark.parametrize("seed", range(5))
def test_another_order_keeps_every_word(seed):
    edited, kept = apply(["reorder"], CHASE, Random(seed))
    assert kept == 1.0
    assert edited.sentence() != CHASE.sentence()
    assert Counter(words(edited.sentence())) == Counter(words(CHASE.sentence()))


@pytest.mark.parametrize("seed", range(10))
def test_rewording_takes_synonyms_for_one_or_two_words(seed):
    edited, _ = apply(["reword"], CHASE, Random(seed))
    changed = [slot for slot in CHASE.words if edited.words[slot] != CHASE.words[slot]]
    assert 1 <= len(changed) <= 2
    assert all(edited.words[slot] in synonyms(CHASE.topic[slot], CHASE.words[slot]) for slot in changed)


@pytest.mark.parametrize("slot", ["agent", "patient", "action", "place", "time"])
def test_a_change_takes_another_concept_that_the_scene_does_not_hold(slot):
    for seed in range(30):
        edited, _ = apply([f"change_{slot}"], CHASE, Random(seed))
        assert [name for name in CHASE.words if edited.words[name] != CHASE.words[name]] == [slot]
        assert edited.words[slot] not in {*synonyms(CHASE.topic[slot], CHASE.words[slot]), *CHASE.words.values()}


def test_an_added_modifier_is_not_the_other_ones():
    bare = CHASE.with_words(patient_modifier="")
    for seed in range(30):
        edited, _ = apply(["add_modifier"], bare, Random(seed))
        assert edited.words["agent_modifier"] == "small"
        assert edited.words["patient_modifier"] not in {"", "small", "little"}


def test_an_unrelated_scene_fills_the_same_slots_with_other_words():
    for seed in range(30):
        other, _ = apply(["unrelated"], CHASE.with_words(time=""), Random(seed))
        assert not other.words["time"]
        assert other.words["place"]
        assert {*other.words.values()} & {*CHASE.words.values()} == {""}


@pytest.mark.parametrize(
    ("edit", "scene"),
    [
        ("swap_roles", REPAIR),
        ("swap_modifiers", REPAIR),
        ("swap_modifiers", CHASE.with_words(agent_modifier="")),
        ("add_modifier", CHASE),
        ("drop_modifier", CHASE.with_words(agent_modifier="", patient_modifier="")),
        ("change_place", CHASE.with_words(place="")),
        (
            "reword",
            CHASE.with_words(agent="fox", agent_modifier="", action="biting", patient_modifier="", place="", time=""),
        ),
    ],
)
def test_an_edit_that_does_not_apply_gives_nothing(edit, scene):
    assert apply([edit, "negate"], scene, Random(0))[0] is None


@pytest.mark.parametrize(
    ("genre", "edits", "expected"),
    [
        (CAPTIONS, "", "5.0"),
        (CAPTIONS, "reorder", "5.0"),
        (CAPTIONS, "reword", "4.8"),
        (CAPTIONS, "swap_roles", "2.0"),
        (CAPTIONS, "swap_roles swap_modifiers", "1.5"),
        (PLANS, "swap_roles", "1.2"),
        (PLANS, "negate", "1.8"),
        (NEWS, "drop_modifier reword", "1"),
        (NEWS, "swap_modifiers", "0"),
    ],
)
def test_the_score_is_the_product_of_what_the_edits_keep(genre, edits, expected):
    kept = float(np.prod([EDITS[edit][1] for edit in edits.split()]))
    assert label(genre, kept) == expected


# --- the lexicon ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=sorted(GENRES))
def genre(request: pytest.FixtureRequest) -> Genre:
    return GENRES[request.param]


def test_frames_and_topics_have_the_same_slots(genre):
    for frame in genre.frames:
        slots = [slot for _, slot, _, _ in Formatter().parse(frame) if slot]
        assert len(slots) == len(set(slots))
        for topic in genre.topics:
            assert {*slots} == {*topic, "negation"}
    assert {*genre.presence} <= {*genre.topics[0], "negation"}


def test_no_word_means_two_things_in_one_slot(genre):
    for topic in genre.topics:
        for slot, notation in topic.items():
            there = [word for concept in concepts(notation) for word in concept]
            assert len(there) == len(set(there)), slot
            assert all(word == word.strip() and word for word in there), slot
            assert len(concepts(notation)) >= 5, slot


def test_every_recipe_can_be_made(genre):
    for recipe, weight in genre.recipes.items():
        assert weight > 0
        scenes_drawn = (draw_scene(genre, Random(seed)) for seed in range(200))
        assert any(apply(recipe.split(), scene, Random(0))[0] for scene in scenes_drawn), recipe


def test_about_a_third_of_the_captions_swap_something():
    swaps = sum(weight for recipe, weight in CAPTIONS.recipes.items() if "swap" in recipe)
    assert 0.25 <= swaps / sum(CAPTIONS.recipes.values()) <= 0.35
