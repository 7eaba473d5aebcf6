"""Start the process that runs the commands (worker.py), and take its results."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pieces import ROOT, environment

#: what decides results or times beside the code: one thread, the same hashes, no date in PDFs, no terminal's width
FIXED = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "0",
    "COLUMNS": "110",
    "TERM": "dumb",
    "TZ": "UTC",
}

Result = dict[str, Any]


def run(jobs: Sequence[dict[str, Any]], folder: Path, python: str, tell: Callable[[Result], None]) -> list[Result]:
    """Run commands in a folder with the tree that this file stands in.

    Args:
        jobs: Of each command its `words` behind attnlab, and as `until` the file that it is interrupted for, or "".
        folder: Where they run.
        python: The interpreter.
        tell: Called with each result.

    Returns:
        Of each command `code`, `out` and `err`, `drawn` (see `drawn_in` of worker.py), and `seconds`.
    """
    results: list[Result] = []
    with environment() as variables:
        process = subprocess.Popen(
            [python, "-m", "benchmarks.golden.worker", str(folder)],
            cwd=ROOT,
            env=variables | FIXED,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            process.stdin.write(json.dumps(list(jobs)))
            process.stdin.close()
            for line in process.stdout:
                results.append(json.loads(line))
                tell(results[-1])
    if process.returncode or len(results) < len(jobs):
        raise SystemExit(f"the commands' process ended with exit code {process.returncode}")
    return results
