"""Contents x of the mobile ion per formula unit: fractions, written as text or as rounded decimals."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

# How the mobile ions are distributed over their sites.
Ordering = Literal["random", "preferred", "electrostatic"]

# Largest denominator of a content; larger cells are described by their decimals.
LARGEST_DENOMINATOR = 1000
# A decimal with four places is exact up to this denominator: 1/400, 1/80 and 1/16 are, 0.1296 = 81/625 is 7/54 rounded.
LARGEST_WRITTEN_DENOMINATOR = 400
PLACES_OF_A_ROUNDED_FRACTION = 4
# Decimals of a content in names; they distinguish fractions up to LARGEST_DENOMINATOR.
PLACES_OF_A_NAME = 6


def parse_content(value: Any) -> Any:
    """The fraction of a content as a float: 2/3 for the text "2/3" and for 0.6667, 0.66667 or 0.666667.

    A decimal with four or more places is taken for a rounded fraction if exactly one fraction of small denominator
    agrees with it to the last digit. A value that is not a number is returned unchanged.
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
    # Fractions with denominators up to q are at least 1/q² apart; the rounded decimal is accurate to ½·10^-places.
    unique = int((10**places / 2) ** 0.5)
    nearest = written.limit_denominator(min(unique, LARGEST_DENOMINATOR))
    fits = abs(nearest - written) <= max(Fraction(1, 2 * 10**places), Fraction(1, 10**9))
    return float(nearest if fits else written)


def content_text(x: float) -> str:
    """A content as written in names: three or four decimals if these are exact, else six."""
    if abs(x - round(x, PLACES_OF_A_ROUNDED_FRACTION)) < 1e-9:
        return f"{x:.{PLACES_OF_A_ROUNDED_FRACTION}f}".removesuffix("0")
    return f"{x:.{PLACES_OF_A_NAME}f}"
