"""The models that may be asked for, as OpenAI lists them."""

from litestar import get
from litestar.params import FromPath

from gateway.api.answers import ModelAnswer, ModelsAnswer
from gateway.api.openapi import errors
from gateway.api.parts import Part
from gateway.errors import NotFound
from gateway.identity.subject import Subject
from gateway.lifecycle.plan import Configuration


@get("/models", tags=["images"], summary="List models", responses=errors(401, 503))
async def models(configuration: Part[Configuration], subject: Part[Subject]) -> ModelsAnswer:
    """The models that may be asked for."""
    del subject
    names = configuration.deployments.models()
    return ModelsAnswer(data=[ModelAnswer(name, configuration.loaded_at) for name in names])


@get("/models/{model:path}", tags=["images"], summary="Show a model", responses=errors(400, 401, 404, 503))
async def model(
    model: FromPath[str], configuration: Part[Configuration], subject: Part[Subject]
) -> ModelAnswer:
    """One model."""
    del subject
    name = model.removeprefix("/")
    if not configuration.deployments.serving(name):
        raise NotFound("The model is not offered here.", code="model_not_found", param="model")
    return ModelAnswer(name, configuration.loaded_at)
