"""The one place that reads settings: a YAML file, the environment and a `.env` file, checked and made into objects.

The file's shape is described in docs/configuration.md. Everything that can't be used is refused with the file, the path in
it and the reason; nothing is ignored in silence.

`loading` puts together what `yaml_file` and `environment` (with `provider_keys`) read, and what `schema` has checked. A file of
LiteLLM's goes through `litellm_schema` and `litellm` instead.
"""

from balancer.configuration.environment import environment
from balancer.configuration.loading import dump_configuration, load_configuration
from balancer.configuration.values import SIMULATED_SCHEME, Configuration, HealthCheck

__all__ = [
    "SIMULATED_SCHEME",
    "Configuration",
    "HealthCheck",
    "dump_configuration",
    "environment",
    "load_configuration",
]
