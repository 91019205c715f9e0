"""A Python without the seconds that libraries take to import: each run is a fork of a server that has imported them.

One server serves all processes of a test run and ends with the last of them. Of redoxmd it imports what the rules
import; each run imports the rest itself.
"""

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path

# Every optimiser of torch imports `torch._dynamo`, which takes as long as torch. Snakemake imports the report and
# `smart_open` late, in each of its processes.
LIBRARIES = (
    *("snakemake.cli", "snakemake.script", "snakemake.report.html_reporter", "smart_open"),
    *("torch", "torch._dynamo", "pandas", "xarray", "h5netcdf", "pydantic"),
    *("spglib", "vesin"),
    *("scipy.fft", "scipy.integrate", "scipy.interpolate", "scipy.ndimage", "scipy.optimize", "scipy.spatial"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf"),
    *("matplotlib.backends.backend_svg", "ase.io", "ase.mep", "ase.optimize", "custodian.vasp.handlers"),
    "redoxmd.runs.rules",
)
# Stands for the interpreter: sends arguments, folder, environment and streams, and exits as the run does.
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b"!"], [0, 1, 2])
    connection.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode() + b"\\n")
    # A status below zero is a signal.
    status = int(connection.recv(16))
    sys.exit(status if status >= 0 else 128 - status)
"""


@cache
def warm_python():
    """Path of a program that stands for the interpreter, as long as this process lives."""
    test_run = os.environ.get("PYTEST_XDIST_TESTRUNUID", os.getpid())
    folder = Path(tempfile.gettempdir()) / f"redoxmd-{test_run}"
    folder.mkdir(exist_ok=True)
    program, address = folder / "python", str(folder / "socket")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            with socket.socket(socket.AF_UNIX) as listener, (folder / "log").open("w") as log:
                listener.bind(address)
                listener.listen()
                command = [sys.executable, "-m", "tests.warm", str(folder), str(listener.fileno())]
                root = Path(__file__).parents[1]
                subprocess.Popen(command, cwd=root, pass_fds=[listener.fileno()], stdout=log, stderr=log)
            program.write_text(CLIENT.format(python=sys.executable, address=address))
            program.chmod(0o755)
        lasting = socket.socket(socket.AF_UNIX)
        lasting.connect(address)
        lasting.sendall(b"+")
    _lasting.append(lasting)
    return program


_lasting = []


def serve(folder, listener):
    """Fork a process for each run, until no process is left that asked for the server."""
    for name in LIBRARIES:
        importlib.import_module(name)
    # Plug-ins and patterns of its options stay in memory, too.
    importlib.import_module("snakemake.cli").get_argument_parser()
    # torch would take its operators out of the tables, one by one, at the end of each run.
    for finalizer in weakref.finalize._registry:
        finalizer.atexit = False
    # Runs share the memory of the libraries as long as they do not look for garbage in it.
    gc.freeze()
    users, runs = [], {}
    while True:
        readable = select.select([listener, *users, *runs], [], [])[0]
        users = [user for user in users if user not in readable]
        for ended in runs.keys() & set(readable):
            process, connection = runs.pop(ended)
            os.close(ended)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            # Whoever asked for the run may have been killed.
            with connection, suppress(OSError):
                connection.sendall(str(status).encode())
        if listener in readable:
            connection = listener.accept()[0]
            request, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
            if request == b"+":
                users.append(connection)
            elif process := os.fork():
                runs[os.pidfd_open(process)] = process, connection
            else:
                os._exit(exit_status(connection, descriptors, folder / "python"))
            for descriptor in descriptors:
                os.close(descriptor)
        elif not users and not runs:
            return shutil.rmtree(folder)


def exit_status(connection, descriptors, program):
    """Status with which the interpreter would end after the run that a connection describes."""
    arguments, folder, environment = json.loads(connection.makefile().readline())
    try:
        run(arguments, folder, environment, descriptors, program)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status & 255


def run(arguments, folder, environment, descriptors, program):
    """Do as the interpreter does with these arguments: a script, or -m and a module."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    # Those of the server belong to its log, a file with positions.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = str(program)
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = arguments[1:], folder
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        # The end of an interpreter without the second that it takes to take all modules apart.
        threading._shutdown()
        atexit._run_exitfuncs()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
