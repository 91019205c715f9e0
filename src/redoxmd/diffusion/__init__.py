"""Jumps, diffusion coefficients from jumps and from the mean squared displacement, activation energies."""
