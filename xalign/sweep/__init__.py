"""Measure many models and revisions, on one machine or on many, and gather what came of it."""
