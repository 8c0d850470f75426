"""A small multilingual world for demos and tests: five languages, two trained models and a task."""

from xalign.babel.models import load_babel
from xalign.babel.transfer import transfer_task
from xalign.babel.write import write_pairs

__all__ = ["load_babel", "transfer_task", "write_pairs"]
