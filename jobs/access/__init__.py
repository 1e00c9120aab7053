"""Who may ask, for what, how much: virtual API keys with an expiry, allowed models, rates and budgets.

Secrets are known here by their digest only. The HTTP side asks `Access`; the command line works on the `KeyStore`.
"""

from jobs.access.admission import Access, Admission
from jobs.access.caller import ANONYMOUS, Caller
from jobs.access.record import KeyRecord, Limits
from jobs.access.refusals import KeyNameTaken, Refusal, Refused
from jobs.access.store import KeyStore

__all__ = [
    "ANONYMOUS", "Access", "Admission", "Caller", "KeyNameTaken", "KeyRecord", "KeyStore", "Limits", "Refusal", "Refused",
]  # fmt: skip
