"""Python runs this file at its start when this folder is on PYTHONPATH. What imports `wan` then gets Wan2.2 for a CPU."""
from on_cpu import watch

watch.begin()
