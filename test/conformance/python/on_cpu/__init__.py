"""Lets the unchanged code of Wan2.2 run on a CPU, with a model that is small enough for a test."""
