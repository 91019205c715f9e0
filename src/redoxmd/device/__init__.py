"""MD that stays on the device: pairs, forces, integrator and gate of many trajectories at once, read every few steps."""
