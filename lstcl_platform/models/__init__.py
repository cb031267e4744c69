"""Backbones, classifier and heads; public weights in and out."""

from lstcl_platform.models.backbone import Backbone
from lstcl_platform.models.build import backbone_of, build_backbone
from lstcl_platform.models.classifier import Classifier
from lstcl_platform.models.initial_weights import LoadReport, load_initial_weights
from lstcl_platform.models.st_swin import SpaceTimeSwin
from lstcl_platform.models.timesformer import TimeSformer
from lstcl_platform.models.trained import Trained, load_trained
from lstcl_platform.models.weights import load_weights, save_weights

__all__ = [
    "Backbone",
    "Classifier",
    "LoadReport",
    "SpaceTimeSwin",
    "TimeSformer",
    "Trained",
    "backbone_of",
    "build_backbone",
    "load_initial_weights",
    "load_trained",
    "load_weights",
    "save_weights",
]
