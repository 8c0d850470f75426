"""`SlurmArray`: datatrove's executor without the job that adds up its own statistics."""

from datatrove.executor import SlurmPipelineExecutor


class SlurmArray(SlurmPipelineExecutor):  # type: ignore[misc]
    """An array of jobs, and nothing after it.

    datatrove submits one more job that adds up statistics, which would wait for ever where a task fails.
    """

    def launch_merge_stats(self) -> None:
        """Submit nothing."""
