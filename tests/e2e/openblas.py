"""OpenBLAS beside netc's own threads: it has none, in netc and in executables; a program that has little memory ends; a core type from
the environment is said once."""
import os
import resource
import subprocess
import sys

from e2e import NETC, SMALL, Workspace, check

TRAIN = ["--steps", 3, "--quiet", "--data", "synthetic"]


def run(at, *args, limit=None, seconds=120, **environment):
    """(exit status, stderr, the most threads seen)"""
    def restrict():
        if limit:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    child = subprocess.Popen(list(map(str, args)), cwd=at.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=restrict,
                             env=dict(at.environment(), **environment))
    threads = 0
    while child.poll() is None:
        try:
            threads = max(threads, len(os.listdir(f"/proc/{child.pid}/task")))
            _, err = child.communicate(timeout=0.02)
            break
        except FileNotFoundError:
            continue
        except subprocess.TimeoutExpired:
            seconds -= 0.02
            if seconds < 0:
                child.kill()
                sys.exit(f"FAILED: {' '.join(map(str, args))}: does not end")
    else:
        _, err = child.communicate()
    return child.returncode, err, threads


def check_program(at, what, *command):
    """The main thread and the one that loads images, with and without the variable that would give OpenBLAS some; an end under any limit
    of memory."""
    run(at, *command, "--out", at(what), "--threads", 1)  # compiles, which takes threads
    for environment in ({}, {"OPENBLAS_NUM_THREADS": "4"}):
        status, err, threads = run(at, *command, "--out", at(what + str(len(environment))), "--threads", 1, **environment)
        check(status == 0 and threads <= 2, f"{what} {environment}: status {status}, {threads} threads\n{err}")
    for mega in (700, 400, 300):
        status, err, _ = run(at, *command, "--out", at(f"{what}{mega}"), "--threads", 2, limit=mega * 1000 << 10)
        check(status == 0 or (status == 3 and "out of memory" in err), f"{what} in {mega} MB: status {status}\n{err}")
    _, err, _ = run(at, *command, "--out", at(what + "core"), OPENBLAS_CORETYPE="Haswell")
    check(err.count("OPENBLAS_CORETYPE=Haswell is set") == 1, f"{what}: the core type is not said once:\n{err}")


with Workspace() as at:
    check_program(at, "netc", NETC, "train", SMALL, "--conv", "gemm", "--gemm", "openblas", "--batch", 8, *TRAIN)
    _, err, _ = run(at, NETC, "train", SMALL, *TRAIN, "--out", at("without"), OPENBLAS_CORETYPE="Haswell")
    check("OPENBLAS" not in err, f"a model that does not call OpenBLAS speaks of it:\n{err}")
    found = subprocess.run(["cc", "-print-file-name=libopenblas.a"], capture_output=True, text=True).stdout.strip()
    if "sanitized" not in sys.argv and os.path.isabs(found):
        at.run("build", SMALL, "--conv", "gemm", "--gemm", "openblas", "--batch", 8, "--cpu", "native", "-o", at("linked"))
        check_program(at, "executable", at("linked"), "train", *TRAIN)
