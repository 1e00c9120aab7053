import importlib
import pkgutil

import pytest

import producer_api

MODULES = [
    "producer_api",
    *(module.name for module in pkgutil.walk_packages(producer_api.__path__, "producer_api.") if not module.ispkg),
]


@pytest.mark.parametrize("name", MODULES)
def test_modules_offer_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert module.__all__
    for exported in module.__all__:
        assert hasattr(module, exported)
