"""The benchmark suite: one file a core, over the common base in `benchmarks.common`."""
