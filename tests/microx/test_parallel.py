import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from microx.parallel import peak_memory_mib, run_here


@dataclass
class Nap:
    key: str

    def run(self):
        time.sleep(0.3)
        return self.key, {}

    def give_up(self, reason):
        return self.key, {"reason": reason}


def test_jobs_that_a_stop_leaves_undone_are_no_warning():
    """Warnings are errors here."""
    outcomes = run_here([Nap(str(number)) for number in range(8)], n_workers=2)
    next(outcomes)
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what Linux alone can tell")
def test_a_process_is_not_charged_for_the_memory_of_the_one_that_started_it():
    tell = "from microx.parallel import peak_memory_mib; print(peak_memory_mib())"
    held = bytearray(400 << 20)
    held[::4096] = b"1" * len(held[::4096])
    done = subprocess.run([sys.executable, "-c", tell], check=True, capture_output=True, text=True)
    assert peak_memory_mib() > 400
    assert 10 < float(done.stdout) < 200
