"""A cluster of one machine: `sbatch` runs the jobs of an array one after another, in the foreground."""

import os
import stat
import sys
from pathlib import Path

SBATCH = f"""#!{sys.executable}
import os, re, subprocess, sys
from pathlib import Path

*options, script = sys.argv[1:]
text = Path(script).read_text()
found = re.search(r"^#SBATCH --array=0-(\\d+)(?:%(\\d+))?$", text, re.M)
exported = dict(one.split("=") for one in options[0].removeprefix("--export=ALL,").split(","))
codes = []
for index in range(int(found[1]) + 1):
    variables = os.environ | exported | {{
        "SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": "7", "SLURM_NODELIST": "node1"}}
    with open(Path(os.environ["CLUSTER"]) / f"job-{{index}}.out", "ab") as log:
        codes.append(subprocess.run(["bash", script], env=variables, stdout=log, stderr=log).returncode)
with open(Path(os.environ["CLUSTER"]) / "codes", "a") as file:
    file.write(" ".join(map(str, codes)) + "\\n")
print("Submitted batch job 7")
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do [[ $1 == -n ]] && shift; shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
echo node1
"""


def make_cluster(folder: Path) -> dict[str, str]:
    """Write the programs into a folder, and return the variables under which they are found."""
    folder.mkdir(parents=True)
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "CLUSTER": str(folder)}
