"""Parts of the launcher: `launcher.py` beside this folder says what it does.

A launcher, or a process that forks generations, first compiles the script (`script.compile_script`),
then tells in a journal (`journal.Journal`), installs the hooks (`hooks.install`), becomes the script
(`script.become`), and runs it (`script.run`). Nothing here runs when it is imported.
"""
