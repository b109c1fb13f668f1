"""Import everything once, then fork workers: `python -m bench.worker.zygote`.

The zygote takes a worker's options. A forked worker starts in milliseconds with torch and the
backend imported, and serves on its own pipes as any worker does (see
`bench.engine.worker_process.ForkedWorker`). `bench selfcheck --part processes` measures whether
forked workers vary as new processes do.

libgomp's threads do not survive a fork, so the zygote computes nothing: its only operation is
`fork`, and it refuses that once the process has several threads. (OpenBLAS ends its threads before
a fork and starts them again when needed.)
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import WorkerError
from bench.plan.scenario import Status
from bench.worker import conditions, main, protocol
from bench.worker.lifetime import die_with_parent

if TYPE_CHECKING:
    from bench.worker.session import Session


def fork(session: Session, requests: str, replies: str) -> dict[str, Any]:
    """Fork a worker that serves on these two pipes.

    Raises:
        WorkerError: this process has several threads, so its children could hang.
    """
    pipes = os.open(requests, os.O_RDONLY), os.open(replies, os.O_WRONLY)
    zygote = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _work(session, zygote, *pipes)
        except BaseException:  # noqa: BLE001 - the child must not run the zygote's code
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.setpgid(pid, pid)
    for pipe in pipes:
        os.close(pipe)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        os.kill(pid, signal.SIGKILL)
        raise WorkerError(
            Status.UNSUPPORTED,
            "importing started threads, which do not survive a fork: forked workers could hang",
        )
    return {"pid": pid}


def _work(session: Session, zygote: int, requests: int, replies: int) -> None:
    """Serve as a worker until the zygote ends."""
    die_with_parent()
    if os.getppid() != zygote:
        return
    out = os.fdopen(replies, "wb")
    main.send(out, protocol.success(hello={"conditions": conditions.read()}))
    main.serve(os.fdopen(requests, "rb"), out, main.operations(session))


def _operations(session: Session) -> main.Operations:
    return {"fork": lambda r: fork(session, str(r["requests"]), str(r["replies"]))}


if __name__ == "__main__":
    code = main.main(operations_of=_operations)
    sys.stdout.flush()
    os._exit(code)
