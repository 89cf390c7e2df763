"""The work of the installer's commands, such as init, scan, check, read, dump, push --once, outbox and drivers.

A module does the work of one command, or helps several commands, for example with texts and hints. `config_reference`
belongs to no command: it writes docs/configuration.md. The daemon never imports this package.
"""
