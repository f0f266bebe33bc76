"""Stands in for OpenCV, which changes pictures for animate. Wan2.2 imports it for every task."""

INTER_LINEAR = 1
