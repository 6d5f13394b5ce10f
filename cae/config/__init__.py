"""Every option, from file and command line to a checked ``Config``."""

from typing import TYPE_CHECKING

from cae.config.data_options import DataConfig, LesionsConfig
from cae.config.explain_options import (
    CausalConfig,
    CounterfactualConfig,
    ExplainConfig,
    GeneratorsConfig,
    ManifoldConfig,
    ReportConfig,
    SanityConfig,
    ServeConfig,
    TraverseConfig,
)
from cae.config.options import (
    CAEConfig,
    ClassifierConfig,
    Config,
    LoggingConfig,
    LossConfig,
    ModelConfig,
    NCCConfig,
    OracleConfig,
    SamplerConfig,
    TrainerConfig,
)
from cae.lazy import lazy_names

if TYPE_CHECKING:
    from cae.config.command_line import load_config

__all__ = [
    "CAEConfig",
    "CausalConfig",
    "ClassifierConfig",
    "Config",
    "CounterfactualConfig",
    "DataConfig",
    "ExplainConfig",
    "GeneratorsConfig",
    "LesionsConfig",
    "LoggingConfig",
    "LossConfig",
    "ManifoldConfig",
    "ModelConfig",
    "NCCConfig",
    "OracleConfig",
    "ReportConfig",
    "SamplerConfig",
    "SanityConfig",
    "ServeConfig",
    "TrainerConfig",
    "TraverseConfig",
    "load_config",
]

# reading files and arguments builds on the sections above
__getattr__, __dir__ = lazy_names(__name__, {"load_config": "cae.config.command_line"})
