"""Records of files, jobs and shards as frozen dataclasses; Redis stores them as hashes."""

from balancer.state.slots.fair_queue import BACKGROUND
from jobs.records.fields import NANO, decode_fields, to_nano
from jobs.records.files import BadLine, FileRecord
from jobs.records.jobs import FirstRound, Job, Ledger, Tokens
from jobs.records.shards import Shard, as_batch, plain_endpoint

__all__ = [
    "BACKGROUND",
    "NANO",
    "BadLine",
    "FileRecord",
    "FirstRound",
    "Job",
    "Ledger",
    "Shard",
    "Tokens",
    "as_batch",
    "decode_fields",
    "plain_endpoint",
    "to_nano",
]
