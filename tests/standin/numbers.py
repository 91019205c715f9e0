"""Fortran's way with numbers: NaN, and stars where a number does not fit."""

import numpy as np

KBAR = 1602.1766208  # eV/Å³ in kB


def fixed(value, width=16, decimals=8):
    if np.isnan(value):
        return "NaN".rjust(width)
    text = f"{value:{width}.{decimals}f}"
    return text if len(text) <= width else "*" * width


def exponent(value, digits=8):
    """-.65021466E+01: the mantissa starts with the point."""
    if np.isnan(value) or abs(value) > 1e90:
        return "NaN" if np.isnan(value) else "*" * (digits + 6)
    if value == 0:
        return f"0.{'0' * digits}E+00"
    power = int(np.floor(np.log10(abs(value)))) + 1
    mantissa = f"{abs(value) / 10.0**power:.{digits}f}"
    if mantissa.startswith("1"):
        power, mantissa = power + 1, f"0.1{'0' * (digits - 1)}"
    return f"{'-' if value < 0 else '0'}{mantissa[1:]}E{power:+03d}"


def rows(values, width=16, decimals=8):
    return [" ".join(fixed(value, width, decimals) for value in row) for row in values]
