"""Improve a model in one go: measure, train under the closed loop, centre its languages, measure again."""
