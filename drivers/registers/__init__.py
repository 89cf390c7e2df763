"""Converts register words to values. Plans the requests of a poll, makes them, and learns from refusals.

`codec`, `block_codec`, `combine`, `read_plan` and `refusals` are pure.
"""

from drivers.registers.block_codec import Cell, Fill, block_decoder
from drivers.registers.codec import FORMATS, Encoding, bits_of, decoder, encode
from drivers.registers.combine import Part, by_key, combiner, is_direct, resolutions
from drivers.registers.lasting_refusals import LastingRefusals
from drivers.registers.read_plan import Block, Limits, Span, plan
from drivers.registers.refusals import RECHECK_MAX_S, Recheck, RefusalMemory
from drivers.registers.session import OnReply, PollSession, SplitReader

__all__ = [
    "FORMATS",
    "RECHECK_MAX_S",
    "Block",
    "Cell",
    "Encoding",
    "Fill",
    "LastingRefusals",
    "Limits",
    "OnReply",
    "Part",
    "PollSession",
    "Recheck",
    "RefusalMemory",
    "Span",
    "SplitReader",
    "bits_of",
    "block_decoder",
    "by_key",
    "combiner",
    "decoder",
    "encode",
    "is_direct",
    "plan",
    "resolutions",
]
