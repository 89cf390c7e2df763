"""The registers of one device as a file: capture, redaction, and the file as a reader."""
