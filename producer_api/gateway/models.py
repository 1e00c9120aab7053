"""`/v1/models`: the models that the fleet serves."""

from fastapi import APIRouter

from balancer.endpoint import covers, is_pattern
from jobs.access import Caller
from producer_api.access.callers import CurrentCaller
from producer_api.context import Api, ApiContext
from producer_api.files.wire import ModelList, ModelObject
from producer_api.http.errors import ApiError, Problem
from producer_api.http.openapi import errors

__all__ = ["router"]

router = APIRouter(tags=["models"], responses=errors(401, 404, 500, 503))


@router.get("/models", summary="List the models that some endpoint serves")
async def list_models(api: Api, caller: CurrentCaller) -> ModelList:
    """List models: those that the configuration names, and those that endpoints listed when they were last checked."""
    return ModelList.of(list((await _models(api, caller)).values()))


# The path may hold slashes, as the names of models on Hugging Face do.
@router.get("/models/{model_id:path}", summary="Look a model up")
async def get_model(model_id: str, api: Api, caller: CurrentCaller) -> ModelObject:
    """Return one model."""
    model = (await _models(api, caller)).get(model_id) or _matched(api, caller, model_id)
    if model is None:
        raise ApiError(Problem(404, f"no endpoint serves the model {model_id!r}", param="model", code="model_not_found"))
    return model


async def _models(api: ApiContext, caller: Caller) -> dict[str, ModelObject]:
    fleet = api.node.fleet
    await fleet.refresh_models()
    created = int(api.started_at)
    return {
        name: ModelObject.of(name, created, fleet.endpoints[serving[0]].provider)
        for name, serving in sorted(fleet.catalog.models().items())
        if not is_pattern(name) and caller.may_use(name)
    }


def _matched(api: ApiContext, caller: Caller, model_id: str) -> ModelObject | None:
    """Return a model that no list names but a pattern of an endpoint's covers."""
    fleet = api.node.fleet
    serving = [name for name in fleet.catalog.serving(model_id) if covers(fleet.endpoints[name].models, model_id)]
    if not serving or is_pattern(model_id) or not caller.may_use(model_id):
        return None
    return ModelObject.of(model_id, int(api.started_at), fleet.endpoints[serving[0]].provider)
