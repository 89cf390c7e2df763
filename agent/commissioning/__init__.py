"""What an installer runs once: check, scan, read, push --once, dump, hints.

Each module is the work behind one command, or pure text and hints for it.
The daemon never loads this package.
"""
