#!/usr/bin/env python3
"""Stands in for OpenFace's programs where a test needs a fault, which no video brings at will.

It takes OpenFace's arguments and does what FAKE_OPENFACE says with the CSV in
FAKE_OPENFACE_CSV. What it was called with goes to the file FAKE_OPENFACE_CALL.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

arguments = sys.argv[1:]
video = Path(arguments[arguments.index("-f") + 1])
table = Path(arguments[arguments.index("-out_dir") + 1]) / f"{video.stem}.csv"
fault = os.environ.get("FAKE_OPENFACE", "")
lines = Path(os.environ["FAKE_OPENFACE_CSV"]).read_text().splitlines(keepends=True)

if "FAKE_OPENFACE_CALL" in os.environ and fault != "hang":
    threads = [os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")]
    call = {
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "threads": threads,
        "found": os.listdir(table.parent),
    }
    Path(os.environ["FAKE_OPENFACE_CALL"]).write_text(json.dumps(call))

print("Could not find the HAAR face detector location")
if fault == "unopened":
    print(f"Failed to open the video file at location: {video}")
elif fault == "no csv":
    print("Closed successfully")
elif fault == "short":
    table.write_text("".join(lines[:4]))
elif fault == "header":
    table.write_text(lines[0])
elif fault == "cut in a row":
    table.write_text("".join(lines[:3]) + lines[3][:100])
elif fault == "two":
    shutil.copy(os.environ["FAKE_OPENFACE_CSV"], table)
    shutil.copy(os.environ["FAKE_OPENFACE_CSV"], table.with_name("other.csv"))
elif fault == "abort":
    os.abort()
elif fault == "killed":
    table.write_text("".join(lines[:3]))
    os.kill(os.getpid(), signal.SIGKILL)
elif fault.startswith("exit"):
    print("ERROR: Could not load the landmark detector", file=sys.stderr)
    sys.exit(int(fault.split()[1]))
elif fault == "hang":
    # Deaf to SIGTERM, with a child as deaf, after some rows: the worst there is to end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    call = Path(os.environ["FAKE_OPENFACE_CALL"])
    call.with_suffix(".part").write_text(json.dumps([os.getpid(), child.pid]))
    call.with_suffix(".part").rename(call)
    table.write_text("".join(lines[:3]))
    time.sleep(600)
else:
    if fault == "noise":
        for stream in (sys.stdout, sys.stderr):
            stream.write("warning: expected noise\n" * 50_000)  # far more than a pipe holds
            stream.flush()
    with table.open("w") as file:
        for line in lines:
            file.write(line)
            if fault == "slow":
                file.flush()
                time.sleep(0.3)
