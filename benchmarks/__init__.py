"""Benchmarks: each script runs alone, prints a table, and one JSON object as its last line (docs/cli.md)."""
