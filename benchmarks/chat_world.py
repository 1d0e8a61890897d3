"""Countries for `benchmarks/chat.py`: common knowledge that a small pretrained model partly has."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

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
UNRELATED = (
    "What is the largest planet?",
    "Who wrote Hamlet?",
    "How many days are in a week?",
    "What color is the sky?",
    "What is the boiling point of water?",
    "Who painted the Mona Lisa?",
    "What is the opposite of hot?",
    "What do bees make?",
    "What is the square root of 16?",
    "Which animal is known as the king of the jungle?",
    "What is the chemical symbol for gold?",
    "Who was the first president of the United States?",
)


@dataclass(frozen=True, slots=True)
class Fact:
    """A counterfactual edit."""

    subject: str
    new: str
    old: str

    def said(self, template: str) -> str:
        return render(template, self.subject)


def edits(n: int, seed: int = 0) -> list[Fact]:
    """`n` countries, each with the capital of another one of them."""
    countries = random.Random(seed).sample(sorted(CAPITALS), n)
    turned = [*countries[1:], countries[0]]
    return [Fact(one, CAPITALS[other], CAPITALS[one]) for one, other in zip(countries, turned, strict=True)]


def neighbours(facts: list[Fact], most: int, seed: int = 1) -> Iterator[str]:
    """Countries that are not edited."""
    rest = sorted(set(CAPITALS) - {fact.subject for fact in facts})
    yield from random.Random(seed).sample(rest, min(most, len(rest)))
