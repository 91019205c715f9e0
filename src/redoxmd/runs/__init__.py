"""A run over weeks: who drives it, what is stale, what was killed, what a number was made from.

Import from the modules. At every start of Snakemake: `driver`, `mixing`, `versions`, `profiles`. When asked for, by
`commands`: `changes`, `recover`, `retry`, `provenance`.
"""
