"""A TOML file of a device family: loading, checking, and the driver that reads its registers.

Add a key of the profile format here, together with docs/adding-a-device.md.
"""
