"""Named interventions: published ways to move a language inside a model, each as an `Intervention`.

One file per idea. Each reads the states it needs, and returns something that `steer` takes.
"""
