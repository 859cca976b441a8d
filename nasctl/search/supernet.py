"""All cells of a space in one model: its recurrent layers hold every weight of the space, cells take turns in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from nasctl.compiler.layer import RecurrentLayer
from nasctl.data.corpus import Split
from nasctl.data.metrics import METRICS
from nasctl.spaces.base import Code, SearchSpace
from nasctl.specs import Metric, Task
from nasctl.training.loop import answers, predict

Array = np.ndarray[Any, np.dtype[Any]]


class Supernet:
    """A model made with the shared weights of `space`; the same cell stands in each of its recurrent layers."""

    def __init__(self, model: nn.Module, space: SearchSpace) -> None:
        self.model, self.space = model, space
        self._layers = [module for module in model.modules() if isinstance(module, RecurrentLayer)]

    def take(self, code: Code) -> nn.Module:
        """The model as it is with this cell, until another is taken."""
        cell = self.space.decode(code)
        for layer in self._layers:
            layer.take(cell)
        return self.model


class Judge:
    """What cells are worth under the shared weights: the data set's metric on dev, nothing of it trained on."""

    def __init__(self, net: Supernet, dev: Split, task: Task, metric: Metric, device: str, *, classes: int) -> None:
        self.net, self.dev = net, dev
        self.metric, self._task, self._device, self._classes = metric, task, device, classes

    def score(self, code: Code) -> float:
        """The metric on all of dev; NaN if a prediction is not finite."""
        return self._of(predict(self.net.take(code), self.dev, self._task, self._device), self.dev.labels)

    def reward(self, code: Code, rows: Array, masks: torch.Generator | None) -> float:
        """The metric on some rows of dev, such that higher is better; with `masks` dropout is on.

        The worst value if a prediction is not finite.
        """
        model = self.net.take(code)
        model.eval()
        found = answers(model, self.dev, rows, task=self._task, device=self._device, masks=masks)
        value = self._of(found, self.dev.labels[rows])
        return METRICS[self.metric].sign * (METRICS[self.metric].worst if math.isnan(value) else value)

    def _of(self, predicted: Array, gold: Array) -> float:
        if not np.isfinite(predicted).all():
            return math.nan
        return METRICS[self.metric].function(gold, predicted, self._classes)
