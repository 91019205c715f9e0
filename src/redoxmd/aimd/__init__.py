"""Reference MD: the initial training data."""
