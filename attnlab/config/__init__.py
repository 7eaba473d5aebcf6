"""Configurations: one frozen dataclass a command, made of sections; knows neither torch nor the command line."""

from attnlab.config.analyze import AnalyzeConfig
from attnlab.config.evaluate import AttackConfig, EvaluateConfig
from attnlab.config.export import ExportConfig
from attnlab.config.figures import FiguresConfig
from attnlab.config.leaderboard import LeaderboardConfig
from attnlab.config.study import StudyConfig
from attnlab.config.train import SweepConfig, TrainConfig
from attnlab.config.verify import VerifyConfig

__all__ = [
    "AnalyzeConfig",
    "AttackConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FiguresConfig",
    "LeaderboardConfig",
    "StudyConfig",
    "SweepConfig",
    "TrainConfig",
    "VerifyConfig",
]
