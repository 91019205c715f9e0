"""Correlation factor of the jumps, and comparison of D from jumps with the limit that the MSD sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaincinv

from redoxmd.diffusion.counting import Z_95
from redoxmd.diffusion.jumps import Jumps
from redoxmd.diffusion.line_fit import N_QUANTILES, NAN, LineFit

# Regimes in which the MSD sets only an upper limit of D.
NOT_DIFFUSIVE = ("not told from zero", "subdiffusive")


def jump_correlation(trajectories: Sequence[Jumps]) -> tuple[float, float]:
    """Correlation factor Σ|Σ d|²/Σ d² of the jump sequences, and its standard error over ions; NaN without jumps.

    The inner sum runs over the jumps of an ion. The factor is 1 for uncorrelated jumps and 0 if every jump is reversed.
    """
    net, squared = [np.zeros(0)], [np.zeros(0)]
    for jumps in trajectories:
        number = int(jumps.ion.max(initial=-1)) + 1
        vector = jumps.end_A - jumps.start_A
        net_vector = np.stack([np.bincount(jumps.ion, vector[:, axis], number) for axis in range(3)], axis=1)
        net.append((net_vector**2).sum(axis=1))
        squared.append(np.bincount(jumps.ion, (vector**2).sum(axis=1), number).astype(float))
    net_squared, jump_squared = np.concatenate(net), np.concatenate(squared)
    total = jump_squared.sum()
    if not total > 0:
        return NAN, NAN
    factor = float(net_squared.sum() / total)
    return factor, float(np.sqrt(((net_squared - factor * jump_squared) ** 2).sum()) / total)


def correlation_columns(tracer: LineFit, row: dict[str, float | str], jumps: Sequence[Jumps]) -> dict[str, float | str]:
    """Columns at one x and T: correlation factor D*/D_jumps, factor of the jump sequence, and limits from the MSD.

    D*/D_jumps is given as median and 95 % interval over the posteriors of D* and of the jump count, as if they were
    independent. If the MSD is not diffusive and D from jumps exceeds the limit of the MSD by two standard errors, the
    jumps do not contribute to transport: `<method>_no_transport` holds the reason, and the limit of D is that of the
    MSD.

    Args:
        tracer: MSD fit over all replicas.
        row: columns of D from jumps and from the MSD.
        jumps: jumps of each trajectory by the 3 Å rule.
    """
    sequence_factor, error = jump_correlation(jumps)
    columns: dict[str, float | str] = {"correlation_low": NAN, "correlation_factor": NAN, "correlation_high": NAN}
    D, sigma = (float(row[f"D_jumps{suffix}_cm2_s"]) for suffix in ("", "_error"))
    if D > 0 and sigma > 0 and tracer.error_cm2_s > 0:
        probability = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
        grid, weight = tracer.density()
        shape = (D / sigma) ** 2
        ratios = np.divide.outer(
            np.interp(probability, weight.cumsum(), grid), D * gammaincinv(shape, probability) / shape
        )
        columns = dict(zip(columns, np.quantile(ratios, [0.025, 0.5, 0.975]).tolist(), strict=True))
    columns |= {"jump_correlation": sequence_factor, "jump_correlation_error": error}
    limit = float(row["D_msd_limit_cm2_s"])
    allowed = limit if limit > 0 else float(row["D_msd_high_cm2_s"])
    for name in ("jumps", "sites"):
        D, sigma = (float(row[f"D_{name}{suffix}_cm2_s"]) for suffix in ("", "_error"))
        bounded = row["msd_regime"] in NOT_DIFFUSIVE and D - Z_95 * sigma > allowed
        columns |= {f"{name}_no_transport": f"the MSD is {row['msd_regime']} and allows less" if bounded else ""}
        if bounded:
            columns |= {f"D_{name}_limit_cm2_s": allowed}
    return columns
