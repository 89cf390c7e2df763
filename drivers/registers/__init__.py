"""Between register words and values: codec, read plan, refusals, the requests of one poll.

`codec`, `block_codec`, `combine` and `read_plan` are pure.
"""
