"""redoxmd: from DFT molecular dynamics to nanosecond dynamics with electrons."""

__version__ = "0.1.0"
