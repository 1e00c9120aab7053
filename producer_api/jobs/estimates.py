"""`POST /api/v1/estimates`: what an uploaded input would cost, before anything of it is sent."""

from typing import Annotated

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from balancer.usage.price_class import has_flex
from jobs.cost.estimate import Estimator, seconds_of, sum_of
from jobs.errors import InvalidRequest
from jobs.intake.line_index import read_lines
from producer_api.access.callers import CurrentCaller
from producer_api.context import Api
from producer_api.http.openapi import errors

__all__ = ["router"]

MOST_LINES = 5_000
"""Lines that are read: of a longer input, the first ones, and the sums are those of lines like them."""

router = APIRouter(prefix="/estimates", tags=["jobs"], responses=errors(400, 401, 403, 404, 422, 500, 503))


class EstimateRequest(BaseModel):
    """An uploaded input, and how many tokens an answer is taken to have whose request sets no limit."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    output_tokens: Annotated[int, Field(gt=0, le=1_000_000)] = 256


class ClassEstimate(BaseModel):
    """A class of processing: the cost in USD, without the lines whose price is unknown."""

    price_class: str
    cost: float
    unpriced_lines: float


class Estimate(BaseModel):
    """Expected sums. `seconds` is how long the lines take as they are configured, as far as that can be known before; `sampled`
    says that not all lines were read."""

    object: str = "estimate"
    lines: int
    input_tokens: int
    output_tokens: int
    seconds: float
    sampled: bool
    classes: list[ClassEstimate]


@router.post("", summary="Estimate the cost of an input")
async def estimate(body: EstimateRequest, api: Api, caller: CurrentCaller) -> Estimate:
    """Estimate the tokens, the cost and the time of an uploaded input. Nothing is sent."""
    node = api.node
    file = await node.service.files.get(body.input_file_id, caller.sees_only)
    if file.lines is None or file.errors:
        raise InvalidRequest(f"file {file.id} is no input that can be used", "input_file_id")
    endpoints = list(node.fleet.endpoints.values())
    estimator = Estimator(endpoints, node.configuration.strategy, body.output_tokens, node.configuration.routes)
    read = 0
    async for _, raw in read_lines(node.objects, file.id, 0, min(file.lines, MOST_LINES)):
        estimator.add(orjson.loads(raw)["body"])
        read += 1
    total, times = sum_of(estimator.by_endpoint.values()), file.lines / max(1, read)
    costs = {"as configured": (total.cost, total.unpriced)}
    if any(map(has_flex, endpoints)):
        costs["flex"] = (total.flex_cost, total.unpriced)
    if total.batch_lines >= total.lines > 0:
        costs["batch"] = (total.batch_cost, total.unpriced_in_batches)
    seconds = max((seconds_of(estimator.by_endpoint[each.name], each) for each in endpoints), default=0.0)
    return Estimate(
        lines=file.lines,
        input_tokens=round(total.prompt * times),
        output_tokens=round(total.completion * times),
        seconds=round(seconds * times, 1),
        sampled=read < file.lines,
        classes=[
            ClassEstimate(price_class=name, cost=round(cost * times, 9), unpriced_lines=round(unpriced * times, 3))
            for name, (cost, unpriced) in costs.items()
        ],
    )
