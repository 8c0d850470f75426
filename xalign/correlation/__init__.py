"""Whether alignment correlates with downstream scores."""

from xalign.correlation.correlate import correlate
from xalign.correlation.correlation import Correlation
from xalign.correlation.read_results import Results, read_results
from xalign.correlation.tasks import Task, task_of

__all__ = ["Correlation", "Results", "Task", "correlate", "read_results", "task_of"]
