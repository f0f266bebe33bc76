"""Runs a command in a terminal of 100 columns; stdin is the keyboard, stdout the screen."""
import os
import pty
import sys

status = pty.spawn(['sh', '-c', 'stty cols 100 rows 30; exec "$@"', 'sh', *sys.argv[1:]])
sys.exit(os.waitstatus_to_exitcode(status))
