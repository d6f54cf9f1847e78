"""Config-driven runs and benchmarks; never imported by the library."""
