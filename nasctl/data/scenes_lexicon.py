"""The words and frames of the generated corpora: three genres, each a value that can be read from top to bottom.

A slot's words are one text: concepts stand between commas, the words that mean the same between slashes. A frame is a
sentence with slots; all frames of a genre say the same, with (nearly) the same words in another order. Whatever can
follow "a" begins with a consonant. A new topic, word or frame is one more line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Topic = Mapping[str, str]
"""Slot -> its words."""


@dataclass(frozen=True)
class Genre:
    """How one corpus speaks, and which edits make its pairs.

    `presence` is the probability that an optional slot is filled (the others always are). `recipes` gives every
    combination of edits (rows of `scenes.EDITS`, applied from left to right) its weight. A pair's score lies between
    `lowest` and `highest`; where there is a `threshold`, the label says instead whether the pair keeps that share of
    its meaning (1, a paraphrase) or not (0).
    """

    frames: tuple[str, ...]
    topics: tuple[Topic, ...]
    presence: Mapping[str, float]
    recipes: Mapping[str, int]
    lowest: float
    highest: float
    threshold: float | None


def among(cast: str, modifiers: str, **others: str) -> Topic:
    """A topic in which agent and patient are of one kind, so that either can do it to the other."""
    return {"agent": cast, "agent_modifier": modifiers, "patient": cast, "patient_modifier": modifiers, **others}


# --- demo-sick: captions of people, animals and things, in the present ------------------------------------------------

PEOPLE = (
    "man/guy, woman/lady, boy/lad, girl, child/kid, teacher/tutor, doctor/physician, soldier/trooper, singer/vocalist, "
    "clown/jester, farmer, nurse, dancer"
)
PERSON_MODIFIERS = (
    "small/little, tall, young, happy/cheerful, tired/sleepy, quiet/silent, hungry, brave/fearless, nervous/worried, "
    "slim/thin, strong/muscular, friendly/kind, lazy, curious, rich/wealthy"
)
ANIMALS = "dog/hound, cat, rabbit/bunny, monkey, donkey/mule, horse/pony, goat, bear, fox, pig/hog, wolf"
ANIMAL_MODIFIERS = (
    "small/little, big/large, young, tired/sleepy, quiet/silent, hungry, brave/fearless, frightened/scared, "
    "dirty/muddy, wet/soaked, black, brown, white, lazy, curious"
)
OUTDOORS = (
    "in the park, on the beach/on the shore, in the garden/in the yard, on the street/on the road, "
    "near the river/near the stream, in the forest/in the woods, in the field/in the meadow, by the lake/by the pond, "
    "on the hill, at the market/at the fair"
)
CONDITIONS = "at night, in the morning/at dawn, in the evening/at dusk, in the rain, in the snow, in the summer"

CAPTIONS = Genre(
    frames=(
        "a {agent_modifier} {agent} is {negation} {action} a {patient_modifier} {patient} {place} {time}",
        "{place} a {agent_modifier} {agent} is {negation} {action} a {patient_modifier} {patient} {time}",
        "{time} a {agent_modifier} {agent} is {negation} {action} a {patient_modifier} {patient} {place}",
    ),
    topics=(
        among(
            PEOPLE,
            PERSON_MODIFIERS,
            action=(
                "pushing/shoving, following/trailing, watching/observing, helping/assisting, greeting/welcoming, "
                "photographing, drawing/sketching, lifting/raising, pulling/dragging, teaching/instructing, calling, "
                "standing behind/waiting behind, running after, walking in front of"
            ),
            place=OUTDOORS,
            time=CONDITIONS,
        ),
        among(
            ANIMALS,
            ANIMAL_MODIFIERS,
            action=(
                "chasing/pursuing, following/trailing, watching/observing, sniffing/smelling, biting, licking, "
                "scaring/startling, jumping over/leaping over, hiding behind, running in front of"
            ),
            place=OUTDOORS,
            time=CONDITIONS,
        ),
        {
            "agent": PEOPLE,
            "agent_modifier": PERSON_MODIFIERS,
            "action": "repairing/fixing, washing/cleaning, moving, selling, buying/purchasing, decorating",
            "patient": "car, bicycle/bike, boat, fence, table/desk, chair, door/gate, statue/sculpture, bench",
            "patient_modifier": "heavy, new, broken/damaged, cheap, red, green, yellow",
            "place": OUTDOORS,
            "time": CONDITIONS,
        },
    ),
    presence={"agent_modifier": 0.8, "patient_modifier": 0.8, "place": 0.6, "time": 0.4, "negation": 0.06},
    recipes={
        "": 20,
        "swap_roles": 16,
        "swap_modifiers": 10,
        "swap_roles swap_modifiers": 4,
        "add_modifier": 5,
        "drop_modifier": 7,
        "change_place": 5,
        "change_action": 8,
        "change_agent": 4,
        "change_patient": 5,
        "negate": 7,
        "negate drop_modifier": 2,
        "change_action change_place": 3,
        "change_place drop_modifier": 3,
        "change_agent change_patient": 6,
        "unrelated": 14,
    },
    lowest=1.0,
    highest=5.0,
    threshold=None,
)

# --- demo-stsb: who will give what to whom, in longer sentences -------------------------------------------------------

GIVER_MODIFIERS = (
    "young, elderly/old, tall, shy/timid, polite/courteous, rude/impolite, clever/smart, busy, generous, lonely, "
    "famous/well-known, angry/furious"
)
GIFT_MODIFIERS = "new, expensive/costly, cheap, small/little, large/big, strange/odd"
FOOD_MODIFIERS = "fresh, warm, cold, delicious/tasty, expensive/costly, cheap"
SCHOOL = (
    "teacher/tutor, student/pupil, coach/trainer, principal/headmaster, librarian, janitor/caretaker, parent, "
    "scientist/researcher, secretary"
)
RESTAURANT = "waiter/server, chef/cook, guest/visitor, customer/client, manager/boss, baker, cashier, driver/chauffeur"
FAMILY = "mother/mom, father/dad, daughter, son, uncle, aunt, neighbor, grandmother/grandma, grandfather/grandpa"
DATES = "tomorrow, on Monday, on Friday, next week, after lunch, before noon, tonight/this evening, in the morning"

PLANS = Genre(
    frames=(
        (
            "the {agent_modifier} {agent} will {negation} {action} the {theme_modifier} {theme} "
            "to the {patient_modifier} {patient} {place} {time} ."
        ),
        (
            "the {agent_modifier} {agent} will {negation} {action} the {patient_modifier} {patient} "
            "the {theme_modifier} {theme} {place} {time} ."
        ),
        (
            "{time} the {agent_modifier} {agent} will {negation} {action} the {theme_modifier} {theme} "
            "to the {patient_modifier} {patient} {place} ."
        ),
        (
            "{time} the {agent_modifier} {agent} will {negation} {action} the {patient_modifier} {patient} "
            "the {theme_modifier} {theme} {place} ."
        ),
    ),
    topics=(
        among(
            SCHOOL,
            GIVER_MODIFIERS,
            action="give/hand, lend/loan, show, send/mail, sell, bring, offer",
            theme=("book/novel, letter/note, report/paper, picture/photo, laptop/computer, map, camera, ticket, key"),
            theme_modifier=GIFT_MODIFIERS,
            place="in the classroom, in the library, in the hall/in the corridor, at the school gate, in the office",
            time=DATES,
        ),
        among(
            RESTAURANT,
            GIVER_MODIFIERS,
            action="give/hand, serve, sell, bring, offer, pass, show",
            theme="soup, bread, cake/pie, pizza, coffee, juice, salad, sandwich, fish",
            theme_modifier=FOOD_MODIFIERS,
            place="in the kitchen, at the counter, in the dining room, on the terrace/on the patio, at the door",
            time=DATES,
        ),
        among(
            FAMILY,
            GIVER_MODIFIERS,
            action="give/hand, lend/loan, show, send/mail, sell, throw/toss, offer",
            theme="bicycle/bike, present/gift, toy, ball, blanket, sofa/couch, ring, guitar, kite",
            theme_modifier=GIFT_MODIFIERS,
            place="at home, in the garden/in the yard, in the living room, at the station, at the party",
            time=DATES,
        ),
    ),
    presence={
        "agent_modifier": 0.7,
        "patient_modifier": 0.7,
        "theme_modifier": 0.4,
        "place": 0.4,
        "time": 0.85,
        "negation": 0.06,
    },
    recipes={
        "": 22,
        "swap_roles": 14,
        "swap_modifiers": 8,
        "swap_roles swap_modifiers": 3,
        "add_modifier": 6,
        "drop_modifier": 8,
        "change_time": 5,
        "change_place": 4,
        "change_action": 6,
        "change_theme": 8,
        "change_agent": 4,
        "change_patient": 4,
        "negate": 6,
        "change_theme change_time": 3,
        "change_time add_modifier": 3,
        "change_agent change_patient": 3,
        "unrelated": 12,
    },
    lowest=0.0,
    highest=5.0,
    threshold=None,
)

# --- demo-mrpc: news that somebody reports ----------------------------------------------------------------------------

COMPANIES = (
    "bank/lender, airline/carrier, car maker/auto maker, phone company/telephone company, insurer, "
    "retailer/store chain, drug maker, oil company/oil producer, software firm, newspaper, brewery"
)
COMPANY_MODIFIERS = "largest/biggest, troubled/struggling, local, foreign, small, powerful, well-known/famous, new"
POLITICIANS = (
    "president, senator/lawmaker, governor, mayor, prime minister/premier, judge, general/commander, "
    "party leader/party chief, ambassador/envoy, king"
)
POLITICIAN_MODIFIERS = "young, former, powerful, popular/well-liked, veteran/experienced, controversial, wealthy/rich"
ATHLETES = (
    "striker/forward, goalkeeper/keeper, coach/trainer, captain, champion/title holder, referee, swimmer, "
    "boxer/fighter, sprinter/runner"
)
ATHLETE_MODIFIERS = "young, former, popular/well-liked, veteran/experienced, tired/weary, injured, American, French"
SOURCES = (
    "a spokesman/a spokesperson, officials/authorities, two lawyers, a witness, the police, a television report, "
    "an analyst/an expert, a family member"
)
DAYS = "on Monday, on Tuesday, on Thursday, on Friday, on Sunday night, yesterday, last week"

NEWS = Genre(
    frames=(
        (
            "{source} said {time} that the {agent_modifier} {agent} has {negation} {action} "
            "the {patient_modifier} {patient} {matter} ."
        ),
        (
            "{time} {source} said that the {agent_modifier} {agent} has {negation} {action} "
            "the {patient_modifier} {patient} {matter} ."
        ),
        (
            "the {agent_modifier} {agent} has {negation} {action} the {patient_modifier} {patient} {matter} , "
            "{source} said {time} ."
        ),
    ),
    topics=(
        among(
            COMPANIES,
            COMPANY_MODIFIERS,
            action=(
                "sued, bought/acquired, warned/cautioned, criticized/attacked, praised/commended, paid/compensated, "
                "overtaken/surpassed, misled/deceived, rescued/saved, lent money to, rejected an offer from"
            ),
            matter=(
                "over the patent, after months of talks/after months of negotiations, "
                "because of rising costs/because of higher costs, despite weak sales/despite poor sales, "
                "before the annual meeting, during the strike/during the walkout"
            ),
            source=SOURCES,
            time=DAYS,
        ),
        among(
            POLITICIANS,
            POLITICIAN_MODIFIERS,
            action=(
                "criticized/attacked, praised/commended, invited, called/phoned, warned/cautioned, supported/backed, "
                "replaced/succeeded, visited, defeated/beaten, thanked, misled/deceived"
            ),
            matter=(
                "over the budget, after the election/after the vote, because of the war/because of the conflict, "
                "during the summit, before the trial, despite the protests/despite the demonstrations"
            ),
            source=SOURCES,
            time=DAYS,
        ),
        among(
            ATHLETES,
            ATHLETE_MODIFIERS,
            action=(
                "defeated/beaten, challenged, praised/commended, criticized/attacked, replaced/succeeded, thanked, "
                "congratulated, pushed/shoved, warned/cautioned"
            ),
            matter=(
                "after the final, during the match/during the game, in the second round, at the Olympics, "
                "before the tournament/before the competition, despite the rain"
            ),
            source=SOURCES,
            time=DAYS,
        ),
    ),
    presence={"agent_modifier": 0.7, "patient_modifier": 0.7, "matter": 0.8, "negation": 0.06},
    recipes={
        "": 36,
        "add_modifier": 10,
        "drop_modifier": 12,
        "change_source": 8,
        "swap_roles": 14,
        "swap_modifiers": 4,
        "change_action": 4,
        "change_agent change_patient": 4,
        "negate": 5,
        "unrelated": 5,
    },
    lowest=0.0,
    highest=1.0,
    threshold=0.7,
)

GENRES: Mapping[str, Genre] = {"demo-sick": CAPTIONS, "demo-stsb": PLANS, "demo-mrpc": NEWS}
"""Corpus -> its genre."""
