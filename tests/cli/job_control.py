"""A shell of one job: `python -m tests.cli.job_control COMMAND …` runs it in the foreground of this terminal.

When the job is stopped it says so, and whether the terminal shows what is typed; a line typed then brings the job back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios

LOCAL_FLAGS = 3


def main() -> int:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # this shell takes the terminal back from the background
    job = subprocess.Popen(sys.argv[1:], process_group=0)
    while True:
        os.tcsetpgrp(0, job.pid)
        os.killpg(job.pid, signal.SIGCONT)
        _, status = os.waitpid(job.pid, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        shown = termios.tcgetattr(0)[LOCAL_FLAGS] & termios.ECHO
        input(f"[stopped, keys {'shown' if shown else 'hidden'}]")


if __name__ == "__main__":
    sys.exit(main())
