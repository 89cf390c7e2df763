"""The work of the installer's commands: check, scan, read, push --once, dump, hints.

Each module does the work of one command, or produces text and hints for it. The daemon never imports this package.
"""
