"""MD that stays on the device: pairs, forces, integrator and gate of many trajectories, read every few steps."""
