"""`local`: workers on this machine, each a process that lives for many tasks."""

import json
import os
import queue
import signal
import subprocess
import threading
from contextlib import suppress
from typing import IO, Any

from xalign.checks import known_options
from xalign.sweep.engines.engine import Engine, Job

TRIES = 2  # a worker may be killed by chance; one that is killed twice in a task would be a third time
_ENDS_WITHIN = 30.0  # seconds


def run_local(job: Job) -> None:
    """Run tasks in this process, or in several workers where more than one is asked for.

    A worker that is killed is replaced, and its task is tried once more.
    """
    known_options("engine_options of local", job.options, [])
    if job.workers > 1 and len(job.names) > 1:
        _Workers(job).run()
        return
    for name in job.names:
        try:
            job.here(name)
        except Exception as error:  # whatever it is, the others go on
            job.said(name, _line(error))
        else:
            job.said(name, None)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Workers:
    """Threads that each hold a worker, and give it one task after another."""

    def __init__(self, job: Job) -> None:
        self._job, self._saying, self._stopped = job, threading.Lock(), False
        self._left: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._running: dict[int, subprocess.Popen[str]] = {}
        for name in job.names:
            self._left.put(name)

    def run(self) -> None:
        count = min(self._job.workers, len(self._job.names))
        threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:  # interrupted: nothing is left running
            self._stopped = True
            for process in list(self._running.values()):
                process.kill()

    def _work(self, number: int) -> None:
        with open(self._job.folder / f"worker-{number}.log", "ab") as log:
            while not self._stopped:
                try:
                    name = self._left.get_nowait()
                except queue.Empty:
                    break
                error = self._tried(number, name, log)
                if not self._stopped:
                    with self._saying:
                        self._job.said(name, error)
        self._end(number)

    def _tried(self, number: int, name: str, log: IO[bytes]) -> str | None:
        """Return the error of a task, or None."""
        for _ in range(TRIES):
            process = self._running.get(number) or self._start(number, log)
            try:
                answer = _asked(process, name)
            except (OSError, ValueError, KeyError):  # it is no longer there
                self._end(number, kill=True)
                if self._stopped:
                    break
                continue
            return answer
        code = process.returncode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return f"its worker ended with {how}, {TRIES} times; its last words are in {log.name}"

    def _start(self, number: int, log: IO[bytes]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._job.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
            env=_environment(number),
        )
        self._running[number] = process
        return process

    def _end(self, number: int, *, kill: bool = False) -> None:
        process = self._running.pop(number, None)
        if process is None:
            return
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()  # a worker whose input ends, ends
        if kill:
            process.kill()
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _asked(process: "subprocess.Popen[str]", name: str) -> str | None:
    """Give a worker a task, and return the error that it answers with, or None.

    Raises:
        OSError: It does not take it.
        ValueError: It ends without an answer.
    """
    if process.stdin is None or process.stdout is None:
        raise ValueError("a worker without pipes")
    process.stdin.write(f"{name}\n")
    process.stdin.flush()
    answer: Any = json.loads(process.stdout.readline())
    error: str | None = answer["error"]
    return error


def _environment(number: int) -> dict[str, str]:
    """Return the variables of a worker: where there are several GPUs, each has one of its own."""
    import torch  # not needed to submit a job elsewhere

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = list(map(str, range(torch.cuda.device_count()))) if named is None else named.split(",")
    if len(gpus) < 2:  # noqa: PLR2004
        return dict(os.environ)
    return os.environ | {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}


LOCAL = Engine("local", run_local, at_home=True)
