"""Rebuild `addresses.txt` from the usaddress 0.5.16 source distribution.

    pip download --no-deps --no-binary :all: usaddress==0.5.16
    python plugins/agentkit_input_noise/data/build_addresses.py usaddress-0.5.16.tar.gz

The first lines say which letter is which tag; after an empty line, one address a line: its words, a tab,
one letter a word for its tag. Strings that are equal but for case are kept once (the first of them),
so that no two addresses of the pool are the same question to a model that ignores case.
"""

from __future__ import annotations

import hashlib
import string
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

MEMBER = "usaddress-0.5.16/training/labeled.xml"
MEMBER_SHA256 = "dbd125fa01fbdbc4e25cce722c648ce4e224e4c9bdb9b5a14498aa8a042aee32"
OUTPUT = Path(__file__).with_name("addresses.txt")

Address = list[tuple[str, str]]
"""Words with their tags, in order."""


def labelled(xml: bytes) -> list[Address]:
    """Every labelled string of the file, in file order; a word holds no blank."""
    root = ET.fromstring(xml)  # noqa: S314 - see above
    return [[(word, child.tag) for child in item for word in (child.text or "").split()] for item in root]


def distinct(addresses: list[Address]) -> list[Address]:
    """The first of every group of strings that differ in case only."""
    first: dict[str, Address] = {}
    for address in addresses:
        first.setdefault(" ".join(word for word, _ in address).lower(), address)
    return list(first.values())


def render(addresses: list[Address]) -> str:
    """The text of `addresses.txt`."""
    tags = sorted({tag for address in addresses for _, tag in address})
    letter = dict(zip(tags, string.ascii_letters, strict=False))
    lines = [f"{letter[tag]} {tag}" for tag in tags] + [""]
    lines += [
        " ".join(word for word, _ in address) + "\t" + "".join(letter[tag] for _, tag in address)
        for address in addresses
    ]
    return "\n".join(lines) + "\n"


def main(archive: str) -> None:
    """Write `addresses.txt` beside this file."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{archive} holds no file {MEMBER}")
        xml = member.read()
    if (found := hashlib.sha256(xml).hexdigest()) != MEMBER_SHA256:
        raise SystemExit(f"{MEMBER} has sha256 {found}; {MEMBER_SHA256} was expected")
    OUTPUT.write_text(render(distinct(labelled(xml))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
