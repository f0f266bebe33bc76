"""What a template knows of Wan2.2 (../../processes/template.py): how to load it without touching a
GPU, and how a fork of it becomes a generation like one that was started cold."""
