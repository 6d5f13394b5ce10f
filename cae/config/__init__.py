"""Every option, from file and command line to a checked ``Config``."""

from cae.config.explain_options import (
    CausalConfig,
    CounterfactualConfig,
    ExplainConfig,
    ManifoldConfig,
    SanityConfig,
    TraverseConfig,
)
from cae.config.options import (
    CAEConfig,
    ClassifierConfig,
    Config,
    DataConfig,
    LesionsConfig,
    LoggingConfig,
    LossConfig,
    ModelConfig,
    NCCConfig,
    OracleConfig,
    SamplerConfig,
    TrainerConfig,
)

__all__ = [
    "CAEConfig",
    "CausalConfig",
    "ClassifierConfig",
    "Config",
    "CounterfactualConfig",
    "DataConfig",
    "ExplainConfig",
    "LesionsConfig",
    "LoggingConfig",
    "LossConfig",
    "ManifoldConfig",
    "ModelConfig",
    "NCCConfig",
    "OracleConfig",
    "SamplerConfig",
    "SanityConfig",
    "TrainerConfig",
    "TraverseConfig",
]
