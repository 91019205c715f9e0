"""Whether a test left something running."""

import os

import psutil


def processes_in(folder):
    """Living processes that work in a folder, or were started with its name."""
    found = []
    for process in psutil.process_iter():
        try:
            text = f"{process.cwd()} {' '.join(process.cmdline())}"
            if process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE and str(folder) in text:
                found.append(process)
        except psutil.Error:
            continue
    return found
