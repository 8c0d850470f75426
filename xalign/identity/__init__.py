"""Say what a function is, so that two measurements with different functions are never taken for the same."""

from xalign.identity.named import Named
from xalign.identity.record import across_processes, advice, agree, is_identified, record_of

__all__ = ["Named", "across_processes", "advice", "agree", "is_identified", "record_of"]
