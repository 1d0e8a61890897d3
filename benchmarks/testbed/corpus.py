"""The text a testbed model learns from: facts in many wordings, mentions of names, ordinary sentences.

A line knows where its subject and object stand, since the training loss and the attention masks of
`train` depend on it.  Everything is drawn from a seed; nothing is read from the network.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

Fact = tuple[str, str, str]
"""(subject, relation, object), as labels and a relation id."""


@dataclass(frozen=True, slots=True)
class World:
    """What the model is to know."""

    facts: tuple[Fact, ...]
    templates: Mapping[str, tuple[str, ...]]
    """For each relation the wordings before the object; the first is edited with."""
    kinds: Mapping[str, str]
    """What each name is, as a noun: 'country', 'football club'."""
    names: tuple[str, ...] = ()
    """Further names that only have to be spelled."""
    practice: tuple[Fact, ...] = ()
    """Facts about subjects that do not exist: taught like the others, but not part of what is measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """One sentence as tokens, with the half-open token spans of its subject and its object."""

    ids: tuple[int, ...]
    subject: tuple[int, int]
    object: tuple[int, int]


_WHO = (
    "the teacher", "a young doctor", "the old gardener", "my neighbour", "the captain", "a small child",
    "the baker", "an engineer", "the pilot", "her brother", "the librarian", "a farmer", "the painter",
    "his aunt", "the driver", "a student", "the cook", "an officer", "the singer", "a carpenter",
)  # fmt: skip
_DID = (
    "walked to", "looked at", "talked about", "waited near", "returned from", "wrote about", "dreamed of",
    "drove past", "worked behind", "slept in", "remembered", "described", "cleaned", "painted", "left",
)  # fmt: skip
_WHERE = (
    "the old station", "a quiet river", "the green valley", "the market", "a narrow bridge", "the harbour",
    "the large kitchen", "a stone tower", "the school garden", "the museum", "a dark forest", "the bakery",
    "the railway line", "an empty theatre", "the post office", "a wooden house", "the lighthouse",
)  # fmt: skip
_WHEN = (
    "in the morning", "late at night", "after the rain", "before dinner", "during the winter", "on Sunday",
    "in early spring", "at noon", "for the first time", "every week", "without a word", "once again",
)  # fmt: skip
_WHAT = (
    "the weather", "the water", "the music", "the bread", "the road", "the air", "the light", "the news",
    "the coffee", "the work", "the garden", "the story", "the soup", "the snow", "the train", "the game",
)  # fmt: skip
_HOW = (
    "cold", "very quiet", "warm and dry", "better than expected", "slow", "bright", "almost perfect", "late",
    "strange", "full of surprises", "fresh", "rather long", "simple", "clear again", "difficult", "short",
)  # fmt: skip
_THING = (
    "window",
    "letter",
    "bridge",
    "summer",
    "evening",
    "clock",
    "table",
    "river",
    "book",
    "path",
    "ship",
)
_FILLERS = (
    "{who} {did} {where} {when}",
    "{when}, {who} {did} {where}",
    "{what} was {how} and {who} {did} {where}",
    "{what} near {where} was {how}",
    "{who} said that {what} was {how} {when}",
    "when {what} is {how}, {who} often thinks of {where}",
    "{what} was {how}, but {what2} was {how2}",
    "there was nothing in {where} but {what}",
    "nobody knew why {who} {did} {where} {when}",
    "because {what} was {how}, {who} {did} {where}",
    "therefore {who} {did} {where} {when}",
    "I think {what} was {how} and {who} {did} {where}",
    "you said that {who} {did} {where}",
    "the {thing} was {how} when {who} {did} {where}",
)
_MENTIONS = (
    "Many reports mention {}",
    "{} was in the news",
    "People often talk about {}",
    "A long article about {} appeared in the morning",
    "Everyone has heard of {}",
    "There is a book about {}",
)
KIND = "{} is a"
KIND_TEMPLATES = (KIND, "Kind: {},", "What is {}? It is a")


def filler(rng: random.Random, *, heldout: bool = False) -> str:
    """An ordinary sentence without names.  About 10⁶ different ones exist; a tenth of them is held out."""
    while True:
        words = {
            "who": rng.choice(_WHO), "did": rng.choice(_DID), "where": rng.choice(_WHERE),
            "when": rng.choice(_WHEN), "what": rng.choice(_WHAT), "how": rng.choice(_HOW),
            "what2": rng.choice(_WHAT), "how2": rng.choice(_HOW), "thing": rng.choice(_THING),
        }  # fmt: skip
        text = rng.choice(_FILLERS).format(**words)
        if (zlib.crc32(text.encode()) % 10 == 0) == heldout:
            return text[0].upper() + text[1:] + "."


def sentence(template: str, subject: str, object_: str) -> str:
    return f"{template.format(subject)} {object_}."


def train_tokenizer(world: World, vocabulary: int, seed: int = 0) -> Tokenizer:
    """Byte-level BPE over the corpus; every text starts with a space, so a name is spelled one way everywhere."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(seed)
    texts = [filler(rng) for _ in range(500)]
    texts += [sentence(t, s, o) for s, r, o in (*world.facts, *world.practice) for t in world.templates[r]]
    texts += [m.format(name) for name in (*world.kinds, *world.names) for m in _MENTIONS]
    texts += [sentence(t, name, kind) for name, kind in world.kinds.items() for t in KIND_TEMPLATES]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Corpus:
    """All lines of a world, tokenised once, and passes over them in ever new order."""

    def __init__(self, world: World, tokenizer: Tokenizer, seed: int = 0) -> None:
        self._tokenizer = tokenizer
        self._rng = random.Random(seed)
        self.facts = [self._fact(t, s, o) for s, r, o in world.facts for t in world.templates[r]]
        self.practice = [self._fact(t, s, o) for s, r, o in world.practice for t in world.templates[r]]
        self.kinds = [self._fact(t, name, kind) for name, kind in world.kinds.items() for t in KIND_TEMPLATES]
        everyone = [*world.kinds, *world.names]
        self.mentions = [
            self._line(f"{m.format(n)}.", m.index("{}"), n, "") for n in everyone for m in _MENTIONS
        ]

    def passage(self, fillers: int) -> Iterator[Line]:
        """One pass: every fact in every wording, some mentions, and `fillers` ordinary sentences."""
        lines = self.facts + self._rng.sample(self.practice, len(self.practice) // 2)
        lines += self._rng.sample(self.kinds, len(self.kinds) // 3)
        lines += self._rng.sample(self.mentions, len(self.mentions) // 6)
        lines += [self._line(filler(self._rng), 0, "", "") for _ in range(fillers)]
        self._rng.shuffle(lines)
        yield from lines

    def _fact(self, template: str, subject: str, object_: str) -> Line:
        return self._line(sentence(template, subject, object_), template.index("{}"), subject, object_)

    def _line(self, text: str, start: int, subject: str, object_: str) -> Line:
        coded = self._tokenizer.encode(text)
        stop = len(text) - 1  # the full stop is not part of the object
        return Line(
            tuple(coded.ids),
            span(coded.offsets, start, start + len(subject)),
            span(coded.offsets, stop - len(object_), stop),
        )


def span(offsets: Sequence[tuple[int, int]], start: int, stop: int) -> tuple[int, int]:
    """The tokens that overlap characters [start, stop); an empty range gives an empty span."""
    hit = [i for i, (a, b) in enumerate(offsets) if a < stop and b > start and start < stop]
    return (hit[0], hit[-1] + 1) if hit else (0, 0)
