"""Whether jumps make transport: the correlation factor, and D from jumps beside what the MSD allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaincinv

from redoxmd.diffusion.collective import VALUES
from redoxmd.diffusion.counting import Z_95
from redoxmd.diffusion.jumps import Jumps
from redoxmd.diffusion.posterior import NAN, LineFit

# Within these the MSD says no more than that D is no greater.
NOT_DIFFUSIVE = ("not told from zero", "subdiffusive")


def jump_correlation(trajectories: Sequence[Jumps]) -> tuple[float, float]:
    """Σ|Σ d|²/Σ d² of the jumps of each ion, and its standard error over ions; NaN without jumps.

    1 where each jump forgets the one before, 0 where each is undone: the correlation factor of the sequence.
    """
    net, squared = [np.zeros(0)], [np.zeros(0)]
    for jumps in trajectories:
        number = int(jumps.ion.max(initial=-1)) + 1
        vector = jumps.end_A - jumps.start_A
        path = np.stack([np.bincount(jumps.ion, vector[:, axis], number) for axis in range(3)], axis=1)
        net.append((path**2).sum(axis=1))
        squared.append(np.bincount(jumps.ion, (vector**2).sum(axis=1), number).astype(float))
    of_net, of_jumps = np.concatenate(net), np.concatenate(squared)
    total = of_jumps.sum()
    if not total > 0:
        return NAN, NAN
    factor = float(of_net.sum() / total)
    return factor, float(np.sqrt(((of_net - factor * of_jumps) ** 2).sum()) / total)


def correlation_columns(tracer: LineFit, row: dict[str, float | str], jumps: Sequence[Jumps]) -> dict[str, float | str]:
    """Columns of an x and T: the correlation factor f = D*/D_jumps, that of the sequence of jumps, and their verdict.

    f is the median, with its 95 % interval, over the posterior of D* and that of the count of jumps, as if
    independent. Where the MSD is not diffusive and D from jumps lies, by two standard errors, above what it allows,
    jumps make no transport: the reason stands in `<method>_no_transport`, and the limit of the MSD is that of D.

    Args:
        tracer: fit of the MSD over all replicas.
        row: columns of D from jumps and from the MSD.
        jumps: of each trajectory, by the 3 Å rule.
    """
    of_sequence, error = jump_correlation(jumps)
    columns: dict[str, float | str] = {"correlation_low": NAN, "correlation_factor": NAN, "correlation_high": NAN}
    D, sigma = (float(row[f"D_jumps{part}_cm2_s"]) for part in ("", "_error"))
    if D > 0 and sigma > 0 and tracer.error_cm2_s > 0:
        probability = (np.arange(VALUES) + 0.5) / VALUES
        grid, weight = tracer.density()
        shape = (D / sigma) ** 2
        ratios = np.divide.outer(
            np.interp(probability, weight.cumsum(), grid), D * gammaincinv(shape, probability) / shape
        )
        columns = dict(zip(columns, np.quantile(ratios, [0.025, 0.5, 0.975]).tolist(), strict=True))
    found = columns | {"jump_correlation": of_sequence, "jump_correlation_error": error}
    limit = float(row["D_msd_limit_cm2_s"])
    allowed = limit if limit > 0 else float(row["D_msd_high_cm2_s"])
    for name in ("jumps", "sites"):
        D, sigma = (float(row[f"D_{name}{part}_cm2_s"]) for part in ("", "_error"))
        bounded = row["msd_regime"] in NOT_DIFFUSIVE and D - Z_95 * sigma > allowed
        found |= {f"{name}_no_transport": f"the MSD is {row['msd_regime']} and allows less" if bounded else ""}
        if bounded:
            found |= {f"D_{name}_limit_cm2_s": allowed}
    return found
