"""Peak memory of one case in a process of its own: `python -m benchmarks.peak SUBJECT TOKENS CASE`.

It writes one number, in MiB, or null.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.measure import peak_mib


def peak_in_process(subject: str, tokens: int, case: str) -> float | None:
    """The peak of one case, measured in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.peak", subject, str(tokens), case]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure what the arguments name."""
    from benchmarks.attention_cases import ATTENTION_CASES
    from benchmarks.cases import CASES, forward
    from benchmarks.graph_cases import GRAPH_CASES
    from benchmarks.subjects import random_ids, subject

    name, tokens, case = sys.argv[1:]
    loaded = subject(name)
    ids = random_ids(loaded, int(tokens))
    # The first forward allocates what every later one uses again.
    forward(loaded, ids)()
    cases = {"forward": forward} | CASES | GRAPH_CASES | ATTENTION_CASES
    sys.stdout.write(json.dumps(peak_mib(cases[case](loaded, ids))) + "\n")


if __name__ == "__main__":
    main()
