"""Messages of the network in CUDA kernels of this project, compiled when a job begins."""
