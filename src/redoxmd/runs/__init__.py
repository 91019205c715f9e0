"""Management of a run: its driver, staleness, recovery after a kill, and provenance of results.

Import from the modules. Every start of Snakemake uses `driver`, `mixing`, `versions` and `profiles`; the commands in
`commands` use `changes`, `recover`, `retry` and `provenance`.
"""
