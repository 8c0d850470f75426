"""A small multilingual world: five languages, two models that learnt them, a task to transfer."""

from xalign.babel.models import load_babel
from xalign.babel.transfer import transfer_task
from xalign.babel.write import write_pairs

__all__ = ["load_babel", "transfer_task", "write_pairs"]
