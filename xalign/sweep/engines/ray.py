"""`ray`: tasks on a Ray cluster, by datatrove's executor."""

from xalign.sweep.engines.datatrove import executor_of, needs, quiet
from xalign.sweep.engines.engine import Engine, Job


def run_ray(job: Job) -> None:
    """Run tasks on the cluster that `ray.init` finds; all its nodes must see the same files.

    Raises:
        MissingExtraError: datatrove or ray is not installed.
        ArgumentError: An option that datatrove's executor does not have.
    """
    try:
        from datatrove.executor import RayPipelineExecutor
    except ImportError as error:
        raise needs("datatrove", error) from None
    try:
        import ray
    except ImportError as error:
        raise needs("ray", error) from None
    with quiet():
        executor = executor_of(RayPipelineExecutor, "ray", job, {})
        if not ray.is_initialized():
            ray.init()
        executor.run()


RAY = Engine("ray", run_ray)
