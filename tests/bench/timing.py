"""Time functions in turn, so that whatever else the machine does meets them alike."""

import statistics
import time


def seconds(*functions, runs=3):
    """Median wall-clock seconds of each function, called in turn, after one call each."""
    times = [[] for _ in functions]
    for run in range(runs + 1):
        for function, spent in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if run:
                spent.append(time.perf_counter() - start)
    return [statistics.median(spent) for spent in times]
