"""Every figure that is quoted, by one command: `python -m benchmarks [name …]`."""
