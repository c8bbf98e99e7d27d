"""Formatting of numbers and label values, which is the same in both text formats."""

from __future__ import annotations

FRACTIONS: tuple[bytes, ...] = (b"", *(f".{millis:03d}".rstrip("0").encode() for millis in range(1, 1000)))
"""Decimal fraction of a second for each number of milliseconds: empty for 0, `.5` for 500."""

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def clean(value: str) -> str:
    r"""Return the value with lone surrogates, which UTF-8 cannot encode, written as escapes such as `\ud800`.

    A single replacement character would merge the series of different names.
    """
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")


def escaped(value: str) -> str:
    """Return the value escaped for use between the quotes of a label."""
    return clean(value).translate(_ESCAPES)


def seconds(millis: int) -> str:
    """Return milliseconds formatted exactly in seconds: 1500 is `1.5`, 2000 is `2`."""
    if millis < 0:
        return "-" + seconds(-millis)
    whole, rest = divmod(millis, 1000)
    return f"{whole}{FRACTIONS[rest].decode()}"
