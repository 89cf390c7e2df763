"""The work of the installer's commands, such as init, scan, check, read, dump, push --once, outbox and drivers.

Each module does the work of one command, or produces texts and hints for commands. The daemon never imports this
package.
"""
