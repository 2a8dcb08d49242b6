"""A worker process: reads trials from standard input, a line of JSON each, and answers a line of JSON for each.

``python -m harness.sweep.launch.process STORE SWEEP ORDER``. The end of standard input means that the launcher is gone: the
process saves the state of a running search and ends at once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from harness.machine.logs import warnings_to_stderr
from harness.machine.progress import LineProgress
from harness.store import sweep_files
from harness.store.store import Store
from harness.store.sweep_files import SweepRow
from harness.sweep.heartbeat import Heart, environ_job
from harness.sweep.manifest import Sweep


def main(arguments: list[str]) -> None:
    """Serve until standard input ends."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they reach the whole group; the launcher decides
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Loads torch. Here, not above: what libraries print while they load must not get among the answers, nor Ctrl-C end them.
    from harness.sweep.launch.worker import Worker

    warnings_to_stderr()
    store, name, settings = arguments
    sweep = Sweep(Store(Path(store)), name)
    heart = Heart(sweep.store, environ_job(), LineProgress())
    requests: queue.Queue[SweepRow] = queue.Queue()
    threading.Thread(target=_listen, args=(requests, heart.interrupt), daemon=True).start()
    worker = Worker(sweep, sweep_files.parse(settings.encode(), sweep_files.ORDER, "the order of this process"), heart)
    _answer(answers, {"ready": True})
    while True:
        trial = requests.get()
        _answer(answers, {"trial": trial["id"], "status": worker.run(trial)})


def _listen(requests: queue.Queue[SweepRow], interrupted: Callable[[], None]) -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    interrupted()
    os._exit(0)


def _answer(answers: IO[str], content: dict[str, object]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
