"""Things that go wrong in weeks of computing, each provoked; docs/faults.md is the table."""
