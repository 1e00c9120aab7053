"""The caller of a request: the owner of an API key, or anonymous while no key exists."""

from collections.abc import Iterable

from balancer.endpoint import covers
from balancer.runtime.record import record
from jobs.access.record import KeyRecord, Limits
from jobs.access.refusals import Refusal, Refused

__all__ = ["ANONYMOUS", "Caller"]

SHOWN_MODELS = 20
"""Models that a refusal names."""


@record(frozen=True, slots=True)
class Caller:
    """One who was let in. `models` are the names that it may ask for, empty for all; `record` is None for keys without one."""

    id: str
    name: str
    admin: bool
    models: tuple[str, ...] = ()
    record: KeyRecord | None = None

    @classmethod
    def of(cls, record: KeyRecord) -> "Caller":
        """Return the owner of a virtual key."""
        return cls(record.id, record.name, record.admin, record.models, record)

    @property
    def limits(self) -> Limits | None:
        """The limits that hold for this one, None without any."""
        return self.record.limits if self.record and self.record.limits else None

    @property
    def is_restricted(self) -> bool:
        """Whether this one has models or limits of its own, which a request must not get round."""
        return not self.admin and (bool(self.models) or self.limits is not None)

    @property
    def sees_only(self) -> str | None:
        """The owner whose files and jobs this one sees; None for all."""
        return None if self.admin else self.id

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to `owner` is there for this one."""
        return self.admin or self.id == owner

    def may_use(self, model: str) -> bool:
        """Whether this one may ask for `model`: by its name, by a pattern (`gpt-*`), or, of a chain (`first,second`), for each of
        its models."""
        if not self.models or model in self.models:
            return True
        return all(covers(self.models, part.strip()) for part in model.split(","))

    def check_models(self, wanted: Iterable[str]) -> None:
        """Refuse models that this one may not ask for; "" stands for a request that names none. Raises Refused."""
        for model in wanted:
            if not self.may_use(model):
                known = ", ".join(self.models[:SHOWN_MODELS]) + (", …" if len(self.models) > SHOWN_MODELS else "")
                what = f"may not use the model {model!r}" if model else "must name a model"
                raise Refused(Refusal.MODEL, f"this key {what}; it may use {known}")

    def check_priority(self, wanted: int) -> None:
        """Refuse a job's priority that is above this one's. Raises Refused."""
        highest = self.limits.priority if self.limits else None
        if highest is not None and wanted > highest:
            raise Refused(Refusal.PRIORITY, f"this key's jobs may have a priority of at most {highest} (got {wanted})")


ANONYMOUS = Caller("", "anonymous", admin=True)
"""The caller while there is no key at all. Its objects have no owner: once there are keys, only admins see them."""
