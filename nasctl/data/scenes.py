"""Three corpora of sentence pairs about everyday scenes, written by one grammar: no download, the same everywhere.

A scene says who does what to whom, where and when. A pair is a scene and an edited copy of it. Every edit keeps a known
share of the meaning (`EDITS`), whatever the others do, so that a pair made by the edits e has

    kept  = Π keeps(e)
    score = lowest + (highest − lowest) · kept

rounded to one decimal, and is a paraphrase where `kept` reaches the genre's threshold. Some edits change words.
Swapping roles or modifiers changes the meaning, telling the scene in another order does not, and neither changes a
word: a model without word order cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from random import Random

from nasctl.data.pairs import Pair
from nasctl.data.scenes_lexicon import GENRES, Genre, Topic
from nasctl.errors import UsageError, nearest
from nasctl.rng import stream

SEED = 1
"""The corpora's own seed; no run's seed moves them."""

MIN_PAIRS = 20
"""With fewer, dev and test would hold next to nothing."""

TRAIN, DEV = 0.70, 0.15
"""Shares of the splits; the test split has the rest."""

NEGATION = "not"

Concept = frozenset[str]
"""Words that mean the same."""


@dataclass(frozen=True)
class Scene:
    """A topic, a frame of the genre, and a word for every slot ("" where an optional slot is empty)."""

    genre: Genre
    topic: Topic
    frame: str
    words: Mapping[str, str]

    def with_words(self, **words: str) -> Scene:
        """The scene with some slots filled otherwise."""
        return replace(self, words={**self.words, **words})

    def reversible(self) -> bool:
        """Whether agent and patient are of one kind, so that either can do it to the other."""
        return self.topic["agent"] == self.topic["patient"]

    def sentence(self) -> str:
        """The scene in words."""
        text = " ".join(self.frame.format_map(self.words).split()).replace(" ,", ",").replace(" .", ".")
        return text[0].upper() + text[1:]


@cache
def concepts(words: str) -> tuple[Concept, ...]:
    """The concepts of a slot, from the lexicon's notation."""
    return tuple(frozenset(concept.split("/")) for concept in words.split(", "))


def synonyms(words: str, word: str) -> list[str]:
    """The other words of a slot that mean the same as `word`; none for no word."""
    return [other for concept in concepts(words) if word in concept for other in sorted(concept) if other != word]


def draw_word(words: str, random: Random, avoided: Iterable[str]) -> str:
    """A word for a slot: any concept that has none of the words to avoid, then any of its words."""
    free = [concept for concept in concepts(words) if concept.isdisjoint(avoided)]
    return random.choice(sorted(random.choice(free)))


def draw_scene(genre: Genre, random: Random, unlike: Scene | None = None) -> Scene:
    """A scene of the genre. Agent and patient differ, and so do their modifiers.

    With `unlike`, the optional slots filled are those of that scene, and none with a word of it.
    """
    topic, negated = random.choice(genre.topics), random.random() < genre.presence["negation"]
    words = {"negation": NEGATION if negated else ""}
    told = tuple(unlike.words.values()) if unlike else ()
    for slot, domain in topic.items():
        present = bool(unlike.words.get(slot)) if unlike else random.random() < genre.presence.get(slot, 1.0)
        other = words.get(slot.replace("patient", "agent"), "")
        words[slot] = draw_word(domain, random, (other, *told)) if present else ""
    return Scene(genre, topic, random.choice(genre.frames), words)


# --- edits: a scene made from a scene, or None where the edit does not apply ------------------------------------------

Edit = Callable[[Scene, Random], Scene | None]


def reword(scene: Scene, random: Random) -> Scene | None:
    """Say one thing or two with a synonym: a kid for a child."""
    others = {slot: synonyms(words, scene.words[slot]) for slot, words in scene.topic.items()}
    slots = [slot for slot in others if others[slot]]
    chosen = random.sample(slots, min(len(slots), random.randint(1, 2)))
    return scene.with_words(**{slot: random.choice(others[slot]) for slot in chosen}) if chosen else None


def reorder(scene: Scene, random: Random) -> Scene:
    """Tell the same scene by another frame."""
    return replace(scene, frame=random.choice([frame for frame in scene.genre.frames if frame != scene.frame]))


def swap_roles(scene: Scene, _random: Random) -> Scene | None:
    """Exchange agent and patient, each with its modifier: a big dog chases a cat, a cat chases a big dog."""
    if not scene.reversible():
        return None
    agent, patient = scene.words["agent"], scene.words["patient"]
    return _exchange_modifiers(scene.with_words(agent=patient, patient=agent))


def swap_modifiers(scene: Scene, _random: Random) -> Scene | None:
    """Exchange what is said of agent and patient: a big dog chases a wet cat, a wet dog chases a big cat."""
    both = scene.words["agent_modifier"] and scene.words["patient_modifier"]
    return _exchange_modifiers(scene) if both and scene.reversible() else None


def _exchange_modifiers(scene: Scene) -> Scene:
    agent, patient = scene.words["agent_modifier"], scene.words["patient_modifier"]
    return scene.with_words(agent_modifier=patient, patient_modifier=agent)


def add_modifier(scene: Scene, random: Random) -> Scene | None:
    """Say something more of one participant."""
    bare = [slot for slot, word in scene.words.items() if slot.endswith("_modifier") and not word]
    return _redraw(scene, random.choice(bare), random) if bare else None


def drop_modifier(scene: Scene, random: Random) -> Scene | None:
    """Say less of one participant."""
    said = [slot for slot, word in scene.words.items() if slot.endswith("_modifier") and word]
    return scene.with_words(**{random.choice(said): ""}) if said else None


def change(scene: Scene, random: Random, slot: str) -> Scene | None:
    """Put another concept into a slot that is filled."""
    return _redraw(scene, slot, random) if scene.words[slot] else None


def _redraw(scene: Scene, slot: str, random: Random) -> Scene:
    return scene.with_words(**{slot: draw_word(scene.topic[slot], random, scene.words.values())})


def negate(scene: Scene, _random: Random) -> Scene:
    """Deny what is said, or say what was denied."""
    return scene.with_words(negation="" if scene.words["negation"] else NEGATION)


def unrelated(scene: Scene, random: Random) -> Scene:
    """Quite another scene, with the same slots filled, so that its length tells nothing."""
    return draw_scene(scene.genre, random, unlike=scene)


EDITS: Mapping[str, tuple[Edit, float]] = {
    "reword": (reword, 0.96),
    "reorder": (reorder, 1.0),
    "swap_roles": (swap_roles, 0.25),
    "swap_modifiers": (swap_modifiers, 0.5),
    "add_modifier": (add_modifier, 0.85),
    "drop_modifier": (drop_modifier, 0.85),
    "change_agent": (partial(change, slot="agent"), 0.5),
    "change_patient": (partial(change, slot="patient"), 0.5),
    "change_theme": (partial(change, slot="theme"), 0.5),
    "change_action": (partial(change, slot="action"), 0.5),
    "change_place": (partial(change, slot="place"), 0.75),
    "change_time": (partial(change, slot="time"), 0.75),
    "change_source": (partial(change, slot="source"), 0.85),
    "negate": (negate, 0.35),
    "unrelated": (unrelated, 0.05),
}
"""Edit -> what it does, and the share of the meaning that it keeps."""

DISGUISES: Mapping[str, float] = {"reword": 0.45, "reorder": 0.35}
"""Edits that any pair may get after those of its recipe, with their probability: that there is a synonym, or another
order, tells nothing of the rest."""


# --- pairs ------------------------------------------------------------------------------------------------------------


def scenes(name: str, pairs: int) -> dict[str, list[Pair]]:
    """The corpus `name` (a row of GENRES) with so many pairs, in the splits train, dev and test.

    No two pairs hold the same two sentences, in either order. A shorter corpus is the beginning of a longer one. Raises
    UsageError for a name that is not there, and for fewer than MIN_PAIRS pairs.
    """
    if name not in GENRES:
        raise UsageError(f"no generated corpus {name}", nearest(name, GENRES))
    if pairs < MIN_PAIRS:
        raise UsageError(f"{name}: {pairs} pairs are too few for three splits", f"pairs={MIN_PAIRS} or more")
    genre, random = GENRES[name], stream(SEED, "scenes", name)
    found: dict[frozenset[str], Pair] = {}
    while len(found) < pairs:
        pair = draw_pair(genre, random, f"{name}-{len(found) + 1:05d}")
        found.setdefault(frozenset((pair.first.lower(), pair.second.lower())), pair)
    whole, train_end, dev_end = list(found.values()), round(TRAIN * pairs), round((TRAIN + DEV) * pairs)
    return {"train": whole[:train_end], "dev": whole[train_end:dev_end], "test": whole[dev_end:]}


def draw_pair(genre: Genre, random: Random, row_id: str) -> Pair:
    """A pair by one recipe, from the first scene to which all its edits apply and which they change."""
    (recipe,) = random.choices(tuple(genre.recipes), tuple(genre.recipes.values()))
    while True:
        scene = draw_scene(genre, random)
        disguises = [edit for edit, probability in DISGUISES.items() if random.random() < probability]
        edited, kept = apply([*recipe.split(), *disguises], scene, random)
        if edited and edited.sentence() != scene.sentence():
            first, second = random.sample((scene.sentence(), edited.sentence()), 2)
            return Pair(row_id, first, second, label(genre, kept))


def apply(edits: Iterable[str], scene: Scene, random: Random) -> tuple[Scene | None, float]:
    """The scene after these edits (None where one does not apply), and the share of its meaning that is kept."""
    edited: Scene | None = scene
    kept = 1.0
    for name in edits:
        edit, keeps = EDITS[name]
        edited = edit(edited, random) if edited else None
        kept *= keeps
    return edited, kept


def label(genre: Genre, kept: float) -> str:
    """A kept share of meaning as the genre's label: a score with one decimal, or 1 for a paraphrase and 0 for none."""
    if genre.threshold is not None:
        return str(int(kept >= genre.threshold))
    return f"{genre.lowest + (genre.highest - genre.lowest) * kept:.1f}"
