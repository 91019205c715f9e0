"""Training data, their split, and the training of the potentials."""
