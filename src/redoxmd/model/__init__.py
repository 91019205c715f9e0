"""The equivariant potential: radial basis, graphs, network, ensemble."""
