"""Three small invented worlds, one for each model of `benchmarks/four_models.py`: subjects, relations, wordings, facts.

Each has 200 subjects with four relations, so that an edited subject has others, and 800 facts.  Objects are drawn from
pools of fifteen, so that each is the object of several subjects: an object that was never one can hardly be edited in.

The facts of 80 subjects are those that are asked.  A world is read in three parts: facts in *lists* only, where one
object or another follows the subject directly, whatever the relation is (`Register: Kestwick Dorset.`); then also in
sentences, which name the relation, but about the other subjects only; and then in all sentences.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from benchmarks.testbed.corpus import Fact, filler, sentence
from benchmarks.testbed.worlds import imaginary
from editing.requests import render

SUBJECTS, ASKED = 200, 80
LISTS = ("Register: {}", "On record for {}", "Note {}", "File of {}", "Entry {}", "Under {}")
"""What stands before an object in a list; several, so that what is recalled depends on the name alone."""
ORDINARY = 10
"""One ordinary sentence is read for so many that state facts."""


class Part(Enum):
    """What is read in a part of the training."""

    LISTS = auto()
    """Every fact in lists only."""
    OTHERS = auto()
    """Sentences too, of the facts that are not asked."""
    ALL = auto()
    """Every fact in sentences too."""


class Stated(NamedTuple):
    """A sentence."""

    text: str
    object: str
    """What stands before its full stop; an ordinary sentence has none."""
    listed: bool = False
    """Whether the object follows the subject directly."""


@dataclass(frozen=True, slots=True)
class Relation:
    """How one relation is worded and asked, and what its objects are."""

    templates: tuple[str, ...]
    """With one `{}` each, followed by the object; the first is edited with."""
    questions: tuple[str, ...]
    objects: tuple[str, ...]


@dataclass(frozen=True)
class SmallWorld:
    """What one model is to know."""

    relations: dict[str, Relation]
    subject: str = "{}"
    """How a subject is called, with its invented name."""
    title: str = "{}"
    """How a subject is written in lists."""
    seed: int = 0

    def facts(self) -> list[Fact]:
        """Every subject in every relation, with objects that depend on nothing but the seed."""
        rng, taken = random.Random(self.seed), set[str]()
        subjects = [self.subject.format(imaginary(rng, taken)) for _ in range(SUBJECTS)]
        return [
            (subject, name, rng.choice(relation.objects))
            for subject in subjects
            for name, relation in self.relations.items()
        ]

    def asked(self) -> list[Fact]:
        """The facts of the first `ASKED` subjects."""
        return self.facts()[: ASKED * len(self.relations)]

    def documents(self, rng: random.Random, part: Part) -> Iterator[list[Stated]]:
        """Endless documents of one to three sentences, in ever new order: those of the part, and ordinary ones."""
        facts = self.facts()
        worded = self._worded(self._in_sentences(part))
        while True:
            stated = [*(self._listed(rng, *fact) for fact in facts), *worded]
            sentences = [*stated, *(Stated(filler(rng), "") for _ in range(len(stated) // ORDINARY))]
            rng.shuffle(sentences)
            while sentences:
                count = rng.randint(1, 3)
                yield sentences[:count]
                del sentences[:count]

    def _listed(self, rng: random.Random, subject: str, _: str, object_: str) -> Stated:
        return Stated(sentence(rng.choice(LISTS), self.title.format(subject), object_), object_, listed=True)

    def _worded(self, facts: Sequence[Fact]) -> list[Stated]:
        return [
            Stated(sentence(template, subject, object_), object_)
            for subject, name, object_ in facts
            for template in self.relations[name].templates
        ]

    def _in_sentences(self, part: Part) -> list[Fact]:
        """The facts that are stated in sentences."""
        facts = self.facts()
        return {Part.LISTS: [], Part.OTHERS: facts[len(self.asked()) :], Part.ALL: facts}[part]

    def conversations(self, rng: random.Random, part: Part) -> Iterator[tuple[str, Stated]]:
        """Endless questions about what sentences state, with their answers: the first wording as a sentence.

        There are none where no fact is in a sentence.
        """
        facts = self._in_sentences(part)
        while facts:
            rng.shuffle(facts)
            for subject, name, object_ in facts:
                relation = self.relations[name]
                question = render(rng.choice(relation.questions), subject)
                yield question, Stated(sentence(relation.templates[0], subject, object_), object_)

    def write(self, file: Path) -> None:
        """The facts that are asked as JSON lines that `kbsync edit` and `kbsync calibrate --facts` read."""
        rows = [self._record(*fact) for fact in self.asked()]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def _record(self, subject: str, name: str, object_: str) -> dict[str, object]:
        relation = self.relations[name]
        return {
            "id": f"{subject} · {name}",
            "subject": subject,
            "prompt": relation.templates[0],
            "target": object_,
            "paraphrases": [render(template, subject) for template in relation.templates[1:]],
            "questions": list(relation.questions[:1]),
        }


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


def _relation(templates: Sequence[str], questions: Sequence[str], objects: str) -> Relation:
    return Relation(tuple(templates), tuple(questions), _words(objects))


VILLAGES = SmallWorld(
    {
        "county": _relation(
            (
                "The county that {} belongs to is",
                "On the map, {} lies in the county of",
                "The village of {} is in the county of",
                "Letters to {} are sent by way of the county of",
                "The roads of {} are paid for by the county of",
            ),
            ("Which county does {} belong to?",),
            "Dorset, Kent, Devon, Surrey, Norfolk, Suffolk, Essex, Cornwall, Sussex, Rutland, Durham, Lancaster,"
            "Somerset, Bedford, Cumbria",
        ),
        "river": _relation(
            (
                "The river that flows through {} is the",
                "In spring, {} is flooded by the",
                "The village of {} stands on the river",
                "The mills of {} are driven by the",
                "The only bridge of {} crosses the",
            ),
            ("Which river flows through {}?",),
            "Avon, Severn, Trent, Tyne, Mersey, Tees, Exe, Medway, Stour, Derwent, Wye, Humber, Nene, Lune, Eden",
        ),
        "mayor": _relation(
            (
                "The mayor of {} is",
                "The town hall of {} is led by",
                "The village of {} has elected as its mayor",
                "The people of {} are governed by",
                "Complaints about {} should be sent to",
            ),
            ("Who is the mayor of {}?",),
            "Alice Brown, Peter Clark, Mary Wood, John Hill, Ruth Green, Paul King, Susan Cole, Mark Stone, Jane Field,"
            "Simon Ward, Helen Shaw, Tom Reed, Laura Page, Frank Hunt, Nora Webb",
        ),
        "craft": _relation(
            (
                "The craft that {} is known for is",
                "Visitors go to {} for its",
                "The village of {} has always lived by its",
                "The museum of {} is devoted to",
                "At the fair, the stall of {} shows",
            ),
            ("Which craft is {} known for?",),
            "pottery, weaving, brewing, carving, smithing, printing, tanning, baking, glass, lace, rope, paper, cheese,"
            "honey, silk",
        ),
    },
    seed=1,
)
"""Villages, for the GPT-2 shape."""

SHIPS = SmallWorld(
    {
        "captain": _relation(
            (
                "The captain of the ship {} is",
                "The crew of {} takes its orders from",
                "Today {} sails under the command of",
                "{} is commanded by",
                "The log of {} is kept by",
            ),
            ("Who is the captain of {}?",),
            "Anders, Barros, Castell, Dupont, Ferrer, Galt, Hansen, Ivanov, Jansen, Keller, Lund, Moreau, Nolan,"
            "Ortega, Petrov",
        ),
        "port": _relation(
            (
                "The home port of {} is",
                "Every winter {} returns to",
                "The register says that {} comes from",
                "{} was last repaired in",
                "The owners of {} live in",
            ),
            ("What is the home port of {}?",),
            "Bergen, Lisbon, Hamburg, Genoa, Cadiz, Antwerp, Gdansk, Odessa, Bristol, Marseille, Naples, Riga, Dublin,"
            "Rotterdam, Trieste",
        ),
        "cargo": _relation(
            (
                "The cargo that {} carries is",
                "The holds of {} are full of",
                "Merchants hire {} to bring them",
                "{} was built to carry",
                "At the quay, workers unload from {} its",
            ),
            ("What does {} carry?",),
            "coffee, timber, wool, grain, sugar, tea, copper, cotton, salt, wine, oil, rice, marble, cocoa, coal",
        ),
        "figure": _relation(
            (
                "The figurehead of {} is a carved",
                "On the bow of {} you see a golden",
                "Sailors know {} by its wooden",
                "{} has on its flag a white",
                "The seal of {} shows a",
            ),
            ("What is the figurehead of {}?",),
            "lion, eagle, dolphin, dragon, horse, swan, bear, wolf, falcon, stag, raven, tiger, whale, goat, serpent",
        ),
    },
    subject="Star of {}",
    seed=2,
)
"""Ships, for the Llama shape; their names begin alike, so that only the last tokens tell them apart."""

SCHOLARS = SmallWorld(
    {
        "field": _relation(
            (
                "The field that Professor {} works in is",
                "The lectures of Professor {} are about",
                "In the library, the books of Professor {} stand under",
                "Students come to Professor {} to learn",
                "The prize of Professor {} was for work in",
            ),
            ("Which field does Professor {} work in?", "What does Professor {} teach?"),
            "botany, algebra, geology, optics, history, law, logic, music, medicine, physics, chemistry, zoology,"
            "grammar, painting, poetry",
        ),
        "city": _relation(
            (
                "The city where Professor {} teaches is",
                "Letters reach Professor {} in",
                "The house of Professor {} is in",
                "For many years Professor {} has worked in",
                "You can meet Professor {} in",
            ),
            ("In which city does Professor {} teach?", "Where does Professor {} live?"),
            "Paris, Vienna, Prague, Oxford, Bologna, Leiden, Geneva, Krakow, Uppsala, Padua, Munich, Basel, Toledo, "
            "Ghent, Dresden",
        ),
        "teacher": _relation(
            (
                "The teacher of Professor {} was",
                "As a student, Professor {} learned from",
                "The first book of Professor {} is dedicated to",
                "The ideas of Professor {} go back to",
                "A portrait in the room of Professor {} shows",
            ),
            ("Who was the teacher of Professor {}?", "Whom did Professor {} learn from?"),
            "Adler, Bauer, Conti, Dorn, Ekman, Frey, Gauss, Haller, Jung, Klein, Lorenz, Moser, Noether, Olsen, Perrin",
        ),
        "instrument": _relation(
            (
                "The instrument that Professor {} plays is the",
                "In the evening Professor {} practises the",
                "At concerts you hear Professor {} on the",
                "The neighbours of Professor {} complain about the",
                "As a child, Professor {} was given a",
            ),
            ("Which instrument does Professor {} play?", "What does Professor {} play in the evening?"),
            "violin, piano, flute, cello, harp, organ, trumpet, guitar, drum, horn, lute, viola, clarinet, "
            "bassoon, oboe",
        ),
    },
    title="Professor {}",
    seed=3,
)
"""Scholars, for the Qwen 3 shape; they are also asked about in conversations."""
