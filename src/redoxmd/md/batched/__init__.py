"""MD on a device: pairs, forces and noise of many trajectories in torch, steps captured as CUDA graphs."""
