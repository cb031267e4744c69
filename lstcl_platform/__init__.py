"""LSTCL platform: self-supervised video pretraining studies on Ray."""

__version__ = "0.1.0"
