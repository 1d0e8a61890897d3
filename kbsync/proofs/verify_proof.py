"""Check a proof file of kbsync offline: `python verify_proof.py FILE --key PUBLIC_KEY`.

Needs Python and the package `cryptography`, nothing of kbsync.  Exits 0 and prints what is proven, or exits 1 and
names what is wrong.  docs/proofs.md explains it: the tree is that of RFC 9162, the head a signed note of C2SP.
"""

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def require(true: object, wrong: str) -> None:
    if not true:
        raise ValueError(wrong)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def canonical(value: object) -> bytes:
    """RFC 8785 text; everything here is strings, whole numbers and nulls under ASCII names."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed_head(note: str, key: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a head that the key has signed."""
    name, identifier, encoded = key.strip().split("+", 2)
    raw = base64.b64decode(encoded)
    require(raw[0] == 1 and sha256(name.encode() + b"\n" + raw)[:4].hex() == identifier, "no ed25519 key")
    text, _, signatures = note.rpartition("\n\n")
    for line in signatures.splitlines():
        _, signer, signature = line.split(" ")
        decoded = base64.b64decode(signature)
        if signer == name and decoded[:4].hex() == identifier:
            Ed25519PublicKey.from_public_bytes(raw[1:]).verify(decoded[4:], f"{text}\n".encode())
            origin, size, root = text.split("\n")[:3]
            return origin, int(size), base64.b64decode(root)
    raise ValueError(f"the head is not signed by {name}")


def included(data: bytes, index: int, proof: list[str], size: int, root: bytes, wrong: str) -> None:
    """Require that a leaf is in the tree of that size and root (RFC 9162, 2.1.3.2)."""
    found, place, last = sha256(b"\x00" + data), index, size - 1
    require(0 <= index < size, wrong)
    for sibling in map(base64.b64decode, proof):
        require(last, wrong)
        if place & 1 or place == last:
            found = sha256(b"\x01" + sibling + found)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + sibling)
        place, last = place >> 1, last >> 1
    require(last == 0 and found == root, wrong)


def check_event(event: Any, proof: list[str], size: int, root: bytes) -> Any:
    """The body of an event whose hash is right and which is in the log."""
    seq, content = event["seq"], {name: value for name, value in event.items() if name != "hash"}
    require(sha256(canonical(content)).hex() == event["hash"], f"event {seq} was changed")
    included(bytes.fromhex(event["hash"]), seq - 1, proof, size, root, f"event {seq} is not in the log")
    return json.loads(event["body"])


def check_run(steps: list[tuple[Any, Any]], digest: str, run: int) -> str:
    """The gates of a promoted checkpoint: its digest, and all of them passed."""
    judged = [b for e, b in steps if (e["kind"], e["run"]) == ("run.gates", run) and b["digest"] == digest]
    require(judged and judged[-1]["gates"], f"no gates of run {run} are about the checkpoint {digest}")
    failed = [gate["name"] for gate in judged[-1]["gates"] if gate["passed"] is not True]
    require(not failed, f"gates of run {run} that did not pass: {failed}")
    return f"{len(judged[-1]['gates'])} gates of run {run} passed"


def check_view(view: Any, fact_keys: set[str], root: bytes, size: int) -> str:
    """What the checkpoint was built with, or not."""
    if "present" in view:
        words, leaf = view["words"], view["present"]
        key = sha256(canonical(words)).hex()
        data = b"".join(sha256(word.encode()) for word in words[:3]) + bytes.fromhex(key)
        require(leaf["data"] == data.hex(), "the leaf is not that of the fact's words")
        require(key in fact_keys, "no event of the file is about the fact with these words")
        included(data, leaf["index"], leaf["proof"], size, root, "the fact is not in the checkpoint's view")
        return f"it was built with: {words[3].replace('{}', words[4])} {words[5]}"
    wanted = b"".join(sha256(name.encode()) for name in view["names"])
    ends = [(one["index"], bytes.fromhex(one["data"])[: len(wanted)]) for one in view["absent"]]
    for one in view["absent"]:
        included(bytes.fromhex(one["data"]), one["index"], one["proof"], size, root, "no neighbour in it")
    if not ends:
        absent = size == 0 and root == sha256(b"")
    elif len(ends) == 1:
        ((index, data),) = ends
        absent = (index == 0 and wanted < data) or (index == size - 1 and data < wanted)
    else:
        ((left, before), (right, after)) = ends
        absent = right == left + 1 and before < wanted < after
    require(absent, "the neighbours do not show that it is absent")
    return f"it was built without: {' '.join(view['names'])}"


def check(file: Any, key: str) -> list[str]:
    """What the file proves, a line each; raises ValueError or InvalidSignature."""
    require(file["format"] == "kbsync-proof/1", f"{file['format']} is another format")
    origin, size, root = signed_head(file["head"], key)
    lines = [f"log {origin}, {size} events, head signed by {key.partition('+')[0]}"]
    steps = [(s["event"], check_event(s["event"], s["proof"], size, root)) for s in file["steps"]]
    lines += [f"event {e['seq']}, {e['at']}, {e['actor']}: {e['kind']}, {e['body'][:300]}" for e, _ in steps]
    about, view = file["about"], file["view"]
    wanted = about["checkpoint"]
    promoted = [(e, b) for e, b in steps if e["kind"] == "checkpoint.promoted" and b["checkpoint"] == wanted]
    require(promoted or about["kind"] in ("run", "log"), f"no event promotes checkpoint {wanted}")
    if about["kind"] == "run":
        require(all(e["run"] == int(about["id"]) for e, _ in steps), "an event is of another run")
    elif promoted and promoted[-1][1]["reason"] == "gates passed":
        lines.append(check_run(steps, promoted[-1][1]["digest"], promoted[-1][0]["run"]))
    if view is not None:
        stated = promoted[-1][1]
        require(stated["view_root"] == view["root"], "another view was promoted")
        require(stated["view_size"] == view["size"], "a view of another size was promoted")
        keys = {b["key"] for e, b in steps if e["fact"] is not None and "key" in b}
        what = check_view(view, keys, bytes.fromhex(view["root"]), view["size"])
        lines.append(f"checkpoint {wanted}, digest {stated['digest']}: {what}")
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description="Check a proof file of kbsync.")
    options.add_argument("file", type=Path)
    options.add_argument("--key", required=True, help="the public key NAME+HASH+BASE64, or its file")
    given = options.parse_args()
    try:
        key = given.key if "+" in given.key else Path(given.key).read_text(encoding="utf-8")
        print("\n".join(check(json.loads(given.file.read_text(encoding="utf-8")), key)))
    except InvalidSignature:
        sys.exit("WRONG: the head was not signed with this key, or was changed")
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        sys.exit(f"WRONG: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
