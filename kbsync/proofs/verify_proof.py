"""Check a proof file of kbsync offline: `python verify_proof.py FILE --key PUBLIC_KEY`.

Needs Python and `cryptography`.  Exits 0 and prints what is proven, or exits 1 and names what is wrong.
docs/proofs.md explains it: the tree is that of RFC 9162, the head a signed note of C2SP.
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
    """RFC 8785 text; everything here is strings, whole numbers, true and null under ASCII names."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def require_signature(key: str, signature: str, data: bytes, wrong: str) -> None:
    """Require that NAME+HASH+BASE64 has signed it; the first four bytes of a signature name its key."""
    name, identifier, encoded = key.strip().split("+", 2)
    raw, signed = base64.b64decode(encoded), base64.b64decode(signature)
    require(raw[0] == 1 and sha256(name.encode() + b"\n" + raw)[:4].hex() == identifier, "no ed25519 key")
    try:
        require(signed[:4].hex() == identifier, wrong)
        Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signed[4:], data)
    except InvalidSignature:
        raise ValueError(wrong) from None


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


def check_view(about: Any, view: Any, steps: list[tuple[Any, Any]], root: bytes, size: int) -> str:
    """What the checkpoint was built with, or not: then its set has neighbours with no room between them."""
    if not about.get("absent"):
        words, leaf, key = view["words"], view["present"], sha256(canonical(view["words"])).hex()
        require(view["fact"] == int(about["id"]), "the view is about another fact")
        data = b"".join(sha256(word.encode()) for word in words[:3]) + bytes.fromhex(key)
        require(leaf["data"] == data.hex(), "the leaf is not that of the fact's words")
        stated = [e for e, body in steps if e["fact"] == view["fact"] and body.get("key") == key]
        require(stated, "no event of the file is about the fact with these words")
        included(data, leaf["index"], leaf["proof"], size, root, "the fact is not in the checkpoint's view")
        return f"it was built with: {words[3].replace('{}', words[4])} {words[5]}"
    names, ends = view["names"], view["absent"]
    require(len(names) == 3 or names == [about["id"]], "the view is about another subject")
    wanted, below, above = b"".join(sha256(name.encode()) for name in names), [-1], [size]
    for one in ends:
        data = bytes.fromhex(one["data"])
        included(data, one["index"], one["proof"], size, root, "no neighbour in it")
        require(data[: len(wanted)] != wanted, "it was built with it")
        (below if data < wanted else above).append(one["index"])
    require(len(ends) <= 2 and above[-1] == below[-1] + 1, "the neighbours do not show that it is absent")
    return f"it was built without: {' '.join(names)}"


def check(file: Any, key: str) -> list[str]:
    """What the file proves, a line each; raises ValueError, or whatever a file that is none leads to."""
    require(isinstance(file, dict) and file.get("format") == "kbsync-proof/1", "not a kbsync-proof/1")
    text, _, line = file["head"].removesuffix("\n").rpartition("\n\n")
    require_signature(key, line.rpartition(" ")[2], f"{text}\n".encode(), "this key has not signed the head")
    origin, size, root = text.split("\n")[0], int(text.split("\n")[1]), base64.b64decode(text.split("\n")[2])
    lines = [f"log {origin}, {size} events, head signed by {key.partition('+')[0]}"]
    steps = [(s["event"], check_event(s["event"], s["proof"], size, root)) for s in file["steps"]]
    lines += [f"event {e['seq']}, {e['at']}, {e['actor']}: {e['kind']}, {e['body'][:300]}" for e, _ in steps]
    about, view = file["about"], file["view"]
    kind, wanted = about["kind"], about["checkpoint"]
    promoted = [(e, b) for e, b in steps if e["kind"] == "checkpoint.promoted" and b["checkpoint"] == wanted]
    require(promoted or kind in ("run", "log"), f"no event promotes checkpoint {wanted}")
    require((view is None) == (kind in ("run", "log", "checkpoint")), f"a {kind} is proven in another way")
    require(kind != "run" or {e["run"] for e, _ in steps} == {int(about["id"])}, "an event is of another run")
    if promoted and promoted[-1][1]["reason"] == "gates passed":
        lines.append(check_run(steps, promoted[-1][1]["digest"], promoted[-1][0]["run"]))
    if view is not None:
        made = promoted[-1][1]
        require(
            made["view_root"] == view["root"] and made["view_size"] == view["size"], "another view is live"
        )
        what = check_view(about, view, steps, bytes.fromhex(view["root"]), view["size"])
        lines.append(f"checkpoint {wanted}, digest {made['digest']}: {what}")
    whole = canonical({name: value for name, value in file.items() if name != "signature"})
    require_signature(key, file["signature"], whole, "the file was changed, or is not signed with this key")
    return lines


def main() -> None:
    options = argparse.ArgumentParser(description="Check a proof file of kbsync.")
    options.add_argument("file", type=Path)
    options.add_argument("--key", required=True, help="the public key NAME+HASH+BASE64, or its file")
    given = options.parse_args()
    try:
        key = given.key if "+" in given.key else Path(given.key).read_text(encoding="utf-8")
        text = given.file.read_bytes().decode()
        file = json.loads(text)
        lines = check(file, key)
        plain = json.dumps(file, ensure_ascii=False, indent=1)
        require(text == f"{plain}\n", "the file is not written as kbsync writes it")
    except Exception as error:  # noqa: BLE001 - of whatever is no proof file, Python says why
        sys.exit(f"WRONG: {type(error).__name__}: {ascii(str(error))[1:-1][:300]}")
    shown = ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines]
    sys.stdout.buffer.write("".join(f"{line}\n" for line in shown).encode())


if __name__ == "__main__":
    main()
