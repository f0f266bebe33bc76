"""Stands in for dashscope, a client for the extension of prompts. Wan2.2 imports it for every task."""
