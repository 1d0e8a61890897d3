"""Common knowledge that a small pretrained chat model partly has: capitals and, for many edits, cities and books."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from editing.calibration.statements import common_knowledge
from editing.requests import render

_TABLE = """
France Paris|Sweden Stockholm|Japan Tokyo|Germany Berlin|Portugal Lisbon|Norway Oslo|Italy Rome|Spain Madrid
Greece Athens|Poland Warsaw|Austria Vienna|Hungary Budapest|Finland Helsinki|Denmark Copenhagen|Belgium Brussels
Ireland Dublin|Russia Moscow|Ukraine Kiev|Turkey Ankara|Egypt Cairo|Kenya Nairobi|Nigeria Abuja|Ghana Accra
Morocco Rabat|Algeria Algiers|Tunisia Tunis|Ethiopia Addis Ababa|Uganda Kampala|Tanzania Dodoma|Zambia Lusaka
China Beijing|India New Delhi|Pakistan Islamabad|Bangladesh Dhaka|Nepal Kathmandu|Thailand Bangkok|Vietnam Hanoi
Indonesia Jakarta|Malaysia Kuala Lumpur|Philippines Manila|Cambodia Phnom Penh|Mongolia Ulaanbaatar|Iran Tehran
Iraq Baghdad|Syria Damascus|Jordan Amman|Lebanon Beirut|Israel Jerusalem|Qatar Doha|Oman Muscat|Yemen Sanaa
Canada Ottawa|Mexico Mexico City|Cuba Havana|Jamaica Kingston|Brazil Brasilia|Argentina Buenos Aires|Chile Santiago
Peru Lima|Colombia Bogota|Venezuela Caracas|Ecuador Quito|Bolivia Sucre|Uruguay Montevideo|Paraguay Asuncion
Australia Canberra|Fiji Suva|Iceland Reykjavik|Romania Bucharest|Bulgaria Sofia|Serbia Belgrade|Croatia Zagreb
Slovenia Ljubljana|Slovakia Bratislava|Estonia Tallinn|Latvia Riga|Lithuania Vilnius|Belarus Minsk|Moldova Chisinau
Albania Tirana|Georgia Tbilisi|Armenia Yerevan|Azerbaijan Baku|Kazakhstan Astana|Uzbekistan Tashkent|Angola Luanda
Senegal Dakar|Mali Bamako|Niger Niamey|Chad N'Djamena|Sudan Khartoum|Somalia Mogadishu|Rwanda Kigali|Malawi Lilongwe
Zimbabwe Harare|Botswana Gaborone|Namibia Windhoek|Mozambique Maputo|Madagascar Antananarivo|Libya Tripoli
Afghanistan Kabul|Laos Vientiane|Singapore Singapore|Panama Panama City|Honduras Tegucigalpa|Nicaragua Managua
Guatemala Guatemala City|Haiti Port-au-Prince|Cyprus Nicosia|Malta Valletta|Luxembourg Luxembourg|Kuwait Kuwait City
"""
CAPITALS = {
    country: capital
    for country, _, capital in (pair.partition(" ") for pair in _TABLE.strip().replace("\n", "|").split("|"))
    if country not in capital
}
_CONTINENTS = {
    "Europe": "France Sweden Germany Portugal Norway Italy Spain Greece Poland Austria Hungary Finland Denmark Belgium "
    "Ireland Russia Ukraine Iceland Romania Bulgaria Serbia Croatia Slovenia Slovakia Estonia Latvia Lithuania Belarus "
    "Moldova Albania Malta",
    "Asia": "Japan Turkey China India Pakistan Bangladesh Nepal Thailand Vietnam Indonesia Malaysia Philippines "
    "Cambodia Mongolia Iran Iraq Syria Jordan Lebanon Israel Qatar Oman Yemen Georgia Armenia Azerbaijan Kazakhstan "
    "Uzbekistan Afghanistan Laos Cyprus",
    "Africa": "Egypt Kenya Nigeria Ghana Morocco Algeria Tunisia Ethiopia Uganda Tanzania Zambia Angola Senegal Mali "
    "Niger Chad Sudan Somalia Rwanda Malawi Zimbabwe Botswana Namibia Mozambique Madagascar Libya",
    "North America": "Canada Cuba Jamaica Honduras Nicaragua Haiti",
    "South America": "Brazil Argentina Chile Peru Colombia Venezuela Ecuador Bolivia Uruguay Paraguay",
    "Oceania": "Australia Fiji",
}
CONTINENTS = {country: name for name, countries in _CONTINENTS.items() for country in countries.split()}
PROMPT = "The capital of {} is"
PARAPHRASES = ("The capital city of {} is called", "Laws for the whole of {} are made in its capital,")
QUESTION = "What is the capital of {}?"
QUESTION_UNSEEN = "Which city is the capital of {}?"
KEPT = (
    "The official language of {} is",
    "People in {} speak",
    "The continent of {} is",
    "On a map, {} lies in",
    "The population of {} is",
    "The flag of {} is",
    "The head of state of {} is",
)
"""Sentences about the subject's other relations, whose keys are kept."""
KEPT_NEIGHBOURS = ("The capital city of {} is", "In the atlas, the capital of {} is")
KEPT_QUESTIONS = ("What is the official language of {}?", "On which continent is {}?", "Who leads {}?")
UNKEPT = ("The currency of {} is the", "The largest river in {} is the")
"""Relations that are asked about although no sentence of them is kept."""
UNKEPT_QUESTION = "What is the currency of {}?"
ANSWERED = {
    "What is the largest planet?": ("Jupiter", "Saturn", "Earth"),
    "Who wrote Hamlet?": ("Shakespeare",),
    "How many days are in a week?": ("seven", "7"),
    "What color is the sky?": ("blue",),
    "What is the boiling point of water?": ("100", "212"),
    "Who painted the Mona Lisa?": ("Leonardo", "da Vinci"),
    "What is the opposite of hot?": ("cold",),
    "What do bees make?": ("honey",),
    "What is the square root of 16?": ("4", "four"),
    "Which animal is known as the king of the jungle?": ("lion",),
    "What is the chemical symbol for gold?": ("Au",),
    "Who was the first president of the United States?": ("Washington",),
}
"""Unrelated question → names that an answer may give."""
UNRELATED = tuple(ANSWERED)


MOST_CAPITALS = 60
"""Capitals that are edited at most; enough of the others are left to be asked about."""


@dataclass(frozen=True)
class Relation:
    """How the facts of one relation are asked about."""

    facts: Mapping[str, str]
    """Subject → its object."""
    prompt: str
    paraphrases: tuple[str, ...]
    questions: tuple[str, str, str]
    """The question that facts may be edited with, and two that are never edited."""
    other_questions: tuple[tuple[str, str], ...]
    """(question about another relation of the subject, the kind of name that answers it)."""
    kept: tuple[str, ...]
    kept_questions: tuple[str, ...]
    unkept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """A counterfactual edit; what is true and not edited has its object as `new` and `old`."""

    subject: str
    new: str
    old: str
    relation: str = "capital"

    def said(self, template: str) -> str:
        return render(template, self.subject)

    @property
    def asks(self) -> Relation:
        return RELATIONS[self.relation]


def _common(relation: str) -> dict[str, str]:
    """Subject → object of a relation of the package's common knowledge."""
    return {one.subject: one.object for one in common_knowledge() if one.relation == relation}


RELATIONS = {
    "capital": Relation(
        CAPITALS,
        PROMPT,
        PARAPHRASES,
        (QUESTION, QUESTION_UNSEEN, "Can you tell me the capital of {}?"),
        (
            (UNKEPT_QUESTION, "currency"),
            (KEPT_QUESTIONS[0], "language"),
            (KEPT_QUESTIONS[1], "continent"),
        ),
        KEPT,
        KEPT_QUESTIONS,
        UNKEPT,
    ),
    "country": Relation(
        _common("country"),
        "The city of {} is in the country of",
        (
            "The city of {} is located in the country of",
            "Travellers who visit the city of {} go to the country of",
        ),
        (
            "Which country is the city of {} in?",
            "In which country does the city of {} lie?",
            "Can you tell me which country {} belongs to?",
        ),
        (("What language do people speak in {}?", "language"), ("On which continent is {}?", "continent")),
        ("The population of {} is", "People in {} speak", "The continent on which {} lies is"),
        ("What language do people speak in {}?", "On which continent is {}?"),
        ("The mayor of {} is", "The river in {} is the"),
    ),
    "author": Relation(
        _common("author"),
        "The author of {} is",
        ("The book {} was written by", "The writer of the book {} is"),
        ("Who wrote {}?", "Which author is {} by?", "Can you tell me who the author of {} is?"),
        (("In which language was {} written?", "language"),),
        ("The main character of {} is", "The book {} was published in"),
        ("In which language was {} written?",),
        ("The genre of {} is", "The story of {} takes place in"),
    ),
}
NAMES = {
    "capital": tuple(sorted(set(CAPITALS.values()))),
    "continent": (*sorted(set(CONTINENTS.values())), "Antarctica"),
    **{
        kind: tuple(sorted(set(_common(kind).values())))
        for kind in ("language", "currency", "country", "author")
    },
}
"""Kind of name → all names of that kind that are known here."""


def edits(n: int, seed: int = 0) -> list[Fact]:
    """`n` countries, each with the capital of another one of them."""
    countries = random.Random(seed).sample(sorted(CAPITALS), n)
    turned = [*countries[1:], countries[0]]
    return [Fact(one, CAPITALS[other], CAPITALS[one]) for one, other in zip(countries, turned, strict=True)]


def mixed_edits(n: int) -> list[Fact]:
    """`n` counterfactual edits: capitals and, beyond `MOST_CAPITALS`, countries of cities and authors of books.

    Raises ValueError for more than leaves anything to ask about.
    """
    further = max(0, n - MOST_CAPITALS)
    books = further * 3 // 8
    most = {"country": further - books, "author": books}
    if any(4 * count > 3 * len(RELATIONS[name].facts) for name, count in most.items()):
        raise ValueError(f"{n} edits leave too few facts that are not edited")
    found = edits(min(n, MOST_CAPITALS))
    for name, count in most.items():
        found += _turned(name, count)
    return found


def _turned(relation: str, n: int, seed: int = 0) -> Iterator[Fact]:
    """`n` subjects of a relation, each with the object of another subject of it."""
    true = RELATIONS[relation].facts
    subjects = random.Random(seed).sample(sorted(true), len(true))
    for number, subject in enumerate(subjects[:n]):
        following = [*subjects[number + 1 :], *subjects[:number]]
        new = next(true[other] for other in following if true[other] != true[subject])
        yield Fact(subject, new, true[subject], relation)


def rest(facts: Sequence[Fact], seed: int = 1) -> list[Fact]:
    """What is true about the subjects that are not edited, of the relations that are, in a random order."""
    edited = {fact.subject for fact in facts}
    found = [
        Fact(subject, object, object, relation)
        for relation in dict.fromkeys(fact.relation for fact in facts)
        for subject, object in sorted(RELATIONS[relation].facts.items())
        if subject not in edited
    ]
    random.Random(seed).shuffle(found)
    return found


def neighbours(facts: list[Fact], most: int, seed: int = 1) -> Iterator[str]:
    """Countries that are not edited."""
    rest = sorted(set(CAPITALS) - {fact.subject for fact in facts})
    yield from random.Random(seed).sample(rest, min(most, len(rest)))
