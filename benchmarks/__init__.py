"""Speed on this machine: `make bench`, `make bench-peers`, `make bench-scaling`."""
