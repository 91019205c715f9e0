"""Jumps of the mobile ions, diffusion coefficients from jumps and from the MSD, and activation energies."""
