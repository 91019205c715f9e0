"""Contents of the mobile ion per formula unit: numbers that are fractions, whatever digits they are written with."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

# Cells of more formula units than this have contents that decimals tell apart as they are.
LARGEST_DENOMINATOR = 1000
# Of decimals with four places: 1/400, 1/80 and 1/16 are meant as written, 0.1296 = 81/625 is 7/54 rounded.
LARGEST_WRITTEN_DENOMINATOR = 400
PLACES_OF_A_ROUNDED_FRACTION = 4
# A name has at most so many places, which tell fractions up to LARGEST_DENOMINATOR apart.
PLACES_OF_A_NAME = 6


def parse_content(value: Any) -> Any:
    """The fraction behind a content as a float: 2/3 for the text "2/3" and for 0.6667, 0.66667 or 0.666667.

    A decimal with four or more places is taken for a rounded fraction if one fits its last digit whose denominator is
    small enough for it to be the only one. What is no number is returned as it came.
    """
    if isinstance(value, bool) or not isinstance(value, str | float):
        return value
    text = value.replace(" ", "") if isinstance(value, str) else f"{Decimal(repr(value)):f}"
    try:
        written = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return value
    places = len(text.partition(".")[2])
    if places < PLACES_OF_A_ROUNDED_FRACTION or written.denominator <= LARGEST_WRITTEN_DENOMINATOR:
        return float(written)
    # Two fractions of denominators up to q are at least 1/q² apart; the last digit leaves 10^-places between them.
    unique = int((10**places / 2) ** 0.5)
    nearest = written.limit_denominator(min(unique, LARGEST_DENOMINATOR))
    fits = abs(nearest - written) <= max(Fraction(1, 2 * 10**places), Fraction(1, 10**9))
    return float(nearest if fits else written)


def content_text(x: float) -> str:
    """A content as names have it: three or four decimals where these are exact, else six."""
    if abs(x - round(x, PLACES_OF_A_ROUNDED_FRACTION)) < 1e-9:
        return f"{x:.{PLACES_OF_A_ROUNDED_FRACTION}f}".removesuffix("0")
    return f"{x:.{PLACES_OF_A_NAME}f}"
