"""Several processes that a launcher started together never train side by side into one directory."""
import os

from e2e import SMALL, Workspace, check


def not_alone(at):
    """As mpirun, mpiexec and srun mark the processes that they start; alone in a job, and in a batch script, one may train."""
    train = ["train", SMALL, "--batch", 8, "--steps", 1, "-q"]
    for name in "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS":
        os.environ[name] = "3"
        at.refuses(*train, "--out", at("none"), status=2, says=f"3 processes were started to train together ({name} says so)")
        check(not os.path.exists(at("none")), f"{name}: a directory was made")
        os.environ[name] = "1"
        at.run(*train, "--out", at(name))
        del os.environ[name]
    os.environ["SLURM_NTASKS"] = "3"
    at.run(*train, "--out", at("script"))
    del os.environ["SLURM_NTASKS"]


with Workspace() as at:
    not_alone(at)
