"""One module per figure: tidy tables in, a matplotlib Figure out."""
