"""The lines of a shard as they stand in a provider's batches."""

from collections.abc import AsyncIterator, Iterable, Mapping

from balancer.fleet.batches import EndpointBatches
from balancer.fleet.fleet import Fleet
from balancer.outcome import Failure, FailureKind
from balancer.providers import Call, RequestRefused
from balancer.providers.batches import BY_PLACE, BatchRequest
from balancer.routing.model_catalog import upstream_model
from workers.batches.journal import Batch
from workers.shards.line_sender import Line

__all__ = ["BatchLines"]


class BatchLines:
    """Lines of a shard that are not finished, translated for one endpoint. `refused` are those that it can't take."""

    def __init__(self, fleet: Fleet, endpoint: str, batches: EndpointBatches) -> None:
        self.refused: dict[int, tuple[Line, Failure]] = {}
        self._fleet = fleet
        self._endpoint = endpoint
        self._batches = batches
        self._lines: dict[int, tuple[Line, Call]] = {}

    async def read(self, lines: AsyncIterator[Line]) -> None:
        """Translate lines."""
        async for line in lines:
            try:
                self._lines[line.number] = (line, self._translate(line))
            except RequestRefused as exc:
                self.refused[line.number] = (line, Failure(FailureKind.UNSUPPORTED, str(exc), 400, param=exc.param))

    def _translate(self, line: Line) -> Call:
        catalog = self._fleet.catalog
        served = [model for model in line.attempts.models if catalog.serves(self._endpoint, model)]
        model = served[0] if served else line.attempts.models[0]
        if model is None and upstream_model(self._fleet.endpoints[self._endpoint], None) is None:
            model = catalog.listed_default(self._endpoint)
        body = {name: value for name, value in line.body.items() if name not in ("model", "models")}
        return self._batches.translate(line.path, {"model": model, **body} if model else body)

    def groups(self) -> Iterable[tuple[str, str]]:
        """Return the models and paths of which there has to be a batch each."""
        return sorted({(call.model, call.path) for _, call in self._lines.values()})

    def of(self, batch: Batch) -> Mapping[str, tuple[Line, Call]]:
        """Return the lines of a batch, in their order, by the ids of their requests."""
        return {
            batch.request_id(number): (line, call)
            for number, (line, call) in self._lines.items()
            if (call.model, call.path) == (batch.model, batch.path)
        }

    def requests(self, batch: Batch) -> list[BatchRequest]:
        """Return the requests of a batch."""
        return [BatchRequest(name, call) for name, (_, call) in self.of(batch).items()]


def id_of(result_id: str, names: list[str]) -> str:
    """Return the id of the request that a result belongs to; `names` has them all, in their order."""
    if not result_id.startswith(BY_PLACE):
        return result_id
    place = int(result_id.removeprefix(BY_PLACE))
    return names[place] if place < len(names) else ""
