"""Compiled evaluation on the CPU."""
