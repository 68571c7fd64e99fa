"""What the workers of a Dask cluster hold in memory, and whether they write it to disk."""

from __future__ import annotations

import contextlib
import resource


@contextlib.contextmanager
def little_memory(client, growth):
    """Make sure that no worker writes to disk, or holds so many bytes more than before."""
    before = client.run(memory)
    yield
    for worker, (written, peak) in client.run(memory).items():
        assert written == 0
        assert peak < before[worker][1] + growth


def memory(dask_worker):
    """Bytes that the worker has written to disk, and the most that its process has held."""
    metrics = dask_worker.data.cumulative_metrics
    written = sum(value for (action, unit), value in metrics.items() if unit == "bytes" and action == "disk-write")
    return written, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
