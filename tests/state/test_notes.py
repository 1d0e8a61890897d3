"""Signed notes and tree heads are those of C2SP's specifications, and nothing else passes for one."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from state.errors import Damaged
from state.notes import Note, PublicKey, SigningKey, TreeHead

PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_NOTE = (  # the example of golang.org/x/mod/sumdb/note
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey("example.com/log", Ed25519PrivateKey.from_private_bytes(b"k" * 32))


def test_the_published_example_verifies() -> None:
    key = PublicKey.parse(PUBLISHED_KEY)
    assert str(key) == PUBLISHED_KEY
    assert Note.parse(PUBLISHED_NOTE).signed_by([key]) == key


def test_a_note_is_signed_by_its_key_and_by_no_other(key: SigningKey) -> None:
    other = SigningKey(key.name, Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    note = key.sign("origin\n5\n")
    assert Note.parse(note).signed_by([other.public, key.public]) == key.public
    assert Note.parse(note).signed_by([other.public]) is None
    assert Note.parse(note.replace("5", "6")).signed_by([key.public]) is None
    line = note.splitlines()[-1]
    assert line == f"— example.com/log {line.rpartition(' ')[2]}"
    assert len(base64.b64decode(line.rpartition(" ")[2])) == 4 + 64


def test_a_head_is_its_lines_and_back() -> None:
    root = hashlib.sha256(b"root").digest()
    head = TreeHead("kbsync/abc", 12, root, ("restored kbsync/xyz 7",))
    assert head.text == f"kbsync/abc\n12\n{base64.b64encode(root).decode()}\nrestored kbsync/xyz 7\n"
    assert TreeHead.parse(head.text) == head


@pytest.mark.parametrize(
    "text", ["", "a\n1\n", "a\n01\nAAAA\n", "a\n-1\nAAAA\n", "a\n1\nAAAA\n", "\n1\nx\n", "a\nb\nc\n"]
)
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(Damaged, match="not a tree head"):
        TreeHead.parse(text)


@pytest.mark.parametrize(
    "text", ["", "text\n", "text\n\n", "text\n\nno signature\n", "text\n\n— a b=c\n", "t\n\n— a AA"]
)
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(Damaged, match="not a signed note"):
        Note.parse(text)


@pytest.mark.parametrize(
    "text", ["", "a+b", "PeterNeumann+c74f20a4" + PUBLISHED_KEY[21:], "a+b+c", PUBLISHED_KEY[1:]]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Damaged, match="not a public key"):
        PublicKey.parse(text)
