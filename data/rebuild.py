"""Rebuild names.txt, the bundled data set, from the given names in Faker's locales.

    python data/rebuild.py            write data/names.txt
    python data/rebuild.py --check    exit 1 if data/names.txt is not what would be written

Needs the version of Faker that pyproject.toml pins (the development extra installs it).
"""

import importlib
import pkgutil
import re
import sys
import unicodedata
from pathlib import Path

from faker.providers import person

TARGET = Path(__file__).with_name("names.txt")
SHORTEST, LONGEST = 2, 15

# Latin letters that Unicode does not decompose into a base letter and marks.
PLAIN = str.maketrans(
    {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ß": "ss", "ə": "e"}
)


def fold(name: str) -> str:
    """Lower case, without diacritics and apostrophes: "Ng'ang'a" → "nganga", "Ástþór" → "astthor"."""
    decomposed = unicodedata.normalize("NFKD", name.lower().translate(PLAIN))
    return "".join(c for c in decomposed if not unicodedata.combining(c) and c not in "'’‘`ʻʼ")


def given_names() -> set[str]:
    """Every entry of every list of given names (`first_names…`) in Faker's person providers."""
    names: set[str] = set()
    for module in pkgutil.iter_modules(person.__path__):
        provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
        for attribute in dir(provider):
            # Some locales build `first_names` by a property from the lists that are gathered here too.
            if attribute.startswith("first_names") and not isinstance(getattr(provider, attribute), property):
                names.update(getattr(provider, attribute))
    return names


def build() -> bytes:
    """The file's bytes: one name a line, sorted; compounds ("Jean-Pierre") give each of their parts."""
    parts = {fold(part) for name in given_names() for part in re.split(r"[\s\-.]+", name)}
    wanted = re.compile(rf"[a-z]{{{SHORTEST},{LONGEST}}}")
    return "".join(f"{name}\n" for name in sorted(filter(wanted.fullmatch, parts))).encode()


def main() -> int:
    built = build()
    if "--check" in sys.argv[1:]:
        same = TARGET.read_bytes() == built
        print(f"{TARGET.name} is {'up to date' if same else 'not what Faker gives now'}")
        return 0 if same else 1
    TARGET.write_bytes(built)
    print(f"{TARGET}: {len(built.splitlines()):,} names, {len(built):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
