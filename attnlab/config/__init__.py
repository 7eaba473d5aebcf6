"""What a user asks for: one frozen dataclass a command, made of sections; knows neither torch nor the command line."""

from attnlab.config.analyze import AnalyzeConfig
from attnlab.config.evaluate import AttackConfig, EvaluateConfig

__all__ = ["AnalyzeConfig", "AttackConfig", "EvaluateConfig"]
