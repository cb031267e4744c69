"""Contrastive frameworks: heads, loss and momentum rule around a backbone."""

from lstcl_platform.frameworks.base import Framework
from lstcl_platform.frameworks.build import build_framework

__all__ = ["Framework", "build_framework"]
