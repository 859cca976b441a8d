"""Samples of a finished search's policies, judged by the shared weights, for the study of its controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from nasctl.compiler.streams import Streams
from nasctl.rng import stream
from nasctl.search.controller import Controller
from nasctl.search.samples import Examined, Policy, SampledCell
from nasctl.spaces.base import SearchSpace, code_text, log_probability, sample
from nasctl.specs import SearchSpec

Samples = Mapping[Policy, Sequence[SampledCell]]
"""What each policy drew, in that order; duplicates stay."""


def samples_of(spec: SearchSpec, controller: Controller) -> Samples:
    """`spec.found.examined` samples of the controller as it is, as it began, and of uniform draws, none judged yet.

    A controller that was never trained is the one that began, and no second policy.
    """
    begun = Controller(controller.space, controller.spec, spec.training.seed)
    policies: dict[Policy, Sequence[SampledCell]] = {"untrained": tuple(_sampled(begun, spec, "untrained"))}
    if not all(map(torch.equal, controller.parameters(), begun.parameters())):
        policies["trained"] = tuple(_sampled(controller, spec, "trained"))
    return policies | {"uniform": tuple(_uniform(spec, controller.space))}


def examined(spec: SearchSpec, samples: Samples, scores: Mapping[str, float]) -> Examined:
    """The samples with their dev scores, which `scores` has by code."""
    policies = {
        policy: tuple(replace(each, score=scores[each.code]) for each in drawn) for policy, drawn in samples.items()
    }
    return Examined(version=1, space=spec.space, metric=spec.metric, policies=policies)


def _sampled(controller: Controller, spec: SearchSpec, policy: Policy) -> Iterator[SampledCell]:
    if not spec.found.examined:
        return
    draws = Streams(spec.training.seed, "cpu", ("examined",)).of(policy)
    samples = controller.sample(spec.found.examined, draws)
    for place, code in enumerate(samples.codes):
        taken = samples.log_probabilities[place, : len(code)]
        yield SampledCell(
            code=code_text(code),
            log_probability=float(taken.sum()),
            largest=tuple(samples.largest[place, : len(code)].tolist()),
            chosen=tuple(taken.exp().tolist()),
            hidden=tuple(samples.hidden[place].tolist()),
        )


def _uniform(spec: SearchSpec, space: SearchSpace) -> Iterator[SampledCell]:
    draws = stream(spec.training.seed, "examined", "uniform")
    for _ in range(spec.found.examined):
        code = sample(space, draws)
        yield SampledCell(code_text(code), log_probability(space, code))
