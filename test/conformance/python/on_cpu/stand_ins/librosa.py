"""Stands in for librosa, which reads sound for s2v. Wan2.2 imports it for every task."""
