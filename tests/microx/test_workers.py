import time
from dataclasses import dataclass

import pytest

from microx.workers import run_here


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
