"""The plugin of ms-swift, in a folder of its own: ms-swift puts that folder first in `sys.path`."""
