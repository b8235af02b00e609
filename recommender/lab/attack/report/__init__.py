"""What the trials found, as Markdown: the README's summary and docs/benchmark.md."""
