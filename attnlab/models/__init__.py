"""Models: a name gives a classifier with its normalisation inside."""

from attnlab.models.classifier import Classifier
from attnlab.models.load import BUILT_IN, load_model

__all__ = ["BUILT_IN", "Classifier", "load_model"]
