"""User names that could break a text format, a query or a log."""

from __future__ import annotations

import sys
import unicodedata
from collections import defaultdict
from functools import cache

PUNCTUATION = (
    'a "quoted" name',
    'ends in a quote"',
    '"',
    "back\\slash",
    "ends in a backslash\\",
    '\\"',
    "\\\\",
    "line\nbreak",
    "\nline break first",
    "line break last\n",
    "literal \\n, no line break",
    "literal \\\\n, neither",
    '\\\n"',
    "carriage\rreturn",
    "tab\tbed",
    " spaces around ",
    '{label="value"} 1',
    "a,b=c",
    "# HELP name text",
    "# EOF",
    "100%",
    "%d%b",
    "{0} {name}",
    "$(name) `name`",
    "<script>name</script>",
    "name@example.com",
    "next\x85line",
    "line\u2028and\u2029paragraph",
    "right\u202eto left",
    "zero\u200bwidth",
    "\ufeffbyte order",
    "caf\u00e9 composed",
    "cafe\u0301 decomposed",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 family",
    "the last\U0010ffff",
    "x" * 128,
)


@cache
def one_of_every_script() -> tuple[str, ...]:
    """Return a name of three letters for every script in this Python's Unicode data.

    Python has no property for the script of a letter; the first word of its name is at least as fine.
    """
    letters: defaultdict[str, str] = defaultdict(str)
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        if unicodedata.category(letter).startswith("L"):
            script = unicodedata.name(letter, "").partition(" ")[0].partition("-")[0]
            if len(letters[script]) < 3:
                letters[script] += letter
    return tuple(f"{script}: {found}" for script, found in letters.items())


HOSTILE = (*PUNCTUATION, *one_of_every_script())
