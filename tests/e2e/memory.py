"""Memory does not grow: the peak of a run of 1,100 steps is that of one of 100."""
import os
import resource

from e2e import SMALL, Workspace, check


def peak_kb(at, steps):
    """ru_maxrss of one run. It is a maximum over all children, so each run gets a process of its own to be the parent."""
    read, write = os.pipe()
    if os.fork() == 0:
        at.run("train", SMALL, "--steps", steps, "--out", at(str(steps)), "--overwrite", "--set", "train.epochs=100", "--eval-every", 1000, "--batch", 8,
               "--threads", 2, "--quiet")
        os.write(write, str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss).encode())
        os._exit(0)
    os.close(write)
    peak = os.read(read, 64)
    check(os.wait()[1] == 0 and peak, "training failed")
    return int(peak)


with Workspace() as at:
    # Compiling on several threads moves a run's peak by up to 2 MB; the smaller of two is steady.
    short, long = min(peak_kb(at, 100), peak_kb(at, 100)), min(peak_kb(at, 1100), peak_kb(at, 1100))
    print(f"peak after 100 steps {short} kB, after 1,100 steps {long} kB")
    check(long - short < 2048, f"memory grew by {long - short} kB")
