"""Results of the trials as Markdown, for the README and docs/benchmark.md."""
