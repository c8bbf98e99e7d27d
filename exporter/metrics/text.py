"""Numbers and label values as the text formats want them; both formats agree on all of this."""

from __future__ import annotations

FRACTIONS: tuple[bytes, ...] = (b"", *(f".{millis:03d}".rstrip("0").encode() for millis in range(1, 1000)))
"""Milliseconds as the digits after a whole number of seconds: nothing for 0, `.5` for 500."""

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def clean(value: str) -> str:
    r"""The value with lone surrogates, which UTF-8 cannot carry, spelled out as `\ud800`.

    Spelled out, not replaced by one sign, so that two names stay two series.
    """
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode("utf-8")


def escaped(value: str) -> str:
    """The value as it stands between the quotes of a label."""
    return clean(value).translate(_ESCAPES)


def seconds(millis: int) -> str:
    """Milliseconds in seconds, exact: 1500 is `1.5`, 2000 is `2`."""
    if millis < 0:
        return "-" + seconds(-millis)
    whole, rest = divmod(millis, 1000)
    return f"{whole}{FRACTIONS[rest].decode()}"
