"""Shapley values over an API: what a part adds on average, over all orders in which parts come.

The value of a set of parts is minus what masking all other parts together changes, less the mean
of the noise; so the prompt itself has the value 0, and a single part the score that occlusion
gives it. A bound is no value: tier 2 is refused where the first token is not listed for a set,
since the difference of two bounds says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import isinf

from lens_core.errors import ModelError
from lens_core.remote.observing import Difference
from lens_core.remote.orders import Plan
from lens_core.remote.result import Noise, RemoteFeature, Sharing
from lens_core.remote.units import Unit, masked_together


@dataclass(eq=False)
class Game:
    """A prompt whose parts share what masking them together changes."""

    prompt: str
    units: Sequence[Unit]
    masks: Mapping[Unit, str]
    plan: Plan
    found: dict[str, Difference] = field(default_factory=dict)
    """By what was sent: sets that look alike are asked once."""

    @property
    def texts(self) -> list[str]:
        """What has to be sent, the prompt without any part first."""
        return [text for text in dict.fromkeys(self._texts.values()) if text != self.prompt]

    def put(self, text: str, difference: Difference) -> None:
        """Keep what a text changes.

        Raises:
            ModelError: only a bound of it is known.
        """
        if isinf(difference.upper):
            raise ModelError(
                f"Where {text!r} is left of the prompt, the endpoint does not list the answer's "
                "first token any more; Shapley values need a number, not a bound. Take tier 3, "
                'or method "occlusion".'
            )
        self.found[text] = difference

    def features(self, noise: Noise, *, floor: float) -> tuple[RemoteFeature, ...]:
        """Every part with its share, from the orders that are complete; none before the first.

        `low` and `high` are the least and the most that the noise allows if it always fell the
        same way; a part is above the noise where 0 is not between them.
        """
        known = self.plan.where(self._is_known)
        if known is None:
            return ()
        value = self._valued(noise.mean)
        most = self._valued(max(noise.values, default=0.0))
        least = self._valued(min(noise.values, default=0.0))
        columns = (
            known.scores(value, value),
            known.scores(least, most),
            known.scores(most, least),
            known.errors(value),
        )
        return tuple(
            self._feature(part, *row, floor=floor)
            for part, row in enumerate(zip(*columns, strict=True))
        )

    def _feature(
        self,
        part: int,
        score: float,
        low: float,
        high: float,
        error: float | None,
        *,
        floor: float,
    ) -> RemoteFeature:
        unit = self.units[part]
        text = self._texts.get(self.plan.full ^ 1 << part)
        alone = None if text is None else self.found.get(text)
        return RemoteFeature(
            text=unit.text,
            char_start=unit.start,
            char_end=unit.end,
            importance=score,
            low=low,
            high=high,
            flip=None if alone is None else alone.flip,
            answer=None if alone is None else alone.answer,
            above_noise=low > floor or high < -floor,
            mask=self.masks[unit],
            standard_error=error,
        )

    def sharing(self, noise: Noise) -> Sharing:
        """How the scores were made, and whether they sum to what there is to share."""
        value = self._valued(noise.mean)
        whole, nothing = value(self.plan.full), value(0)
        orders = self.plan.orders
        return Sharing(
            orders=None if orders is None else len(orders),
            sets=len(self._texts),
            value=whole,
            baseline_value=nothing,
            completeness_gap=sum(self.plan.scores(value, value)) - (whole - nothing),
        )

    def _valued(self, noise: float) -> Callable[[int], float]:
        """The value of a set, if the noise were so large."""

        def value(present: int) -> float:
            text = self._texts[present]
            return 0.0 if text == self.prompt else noise - self.found[text].value

        return value

    def _is_known(self, present: int) -> bool:
        text = self._texts[present]
        return text == self.prompt or text in self.found

    @cached_property
    def _texts(self) -> dict[int, str]:
        """What is sent for every set."""
        return {present: self._without_others(present) for present in self.plan.sets()}

    def _without_others(self, present: int) -> str:
        masks = {u: self.masks[u] for k, u in enumerate(self.units) if not present >> k & 1}
        return masked_together(self.prompt, masks)


@contextmanager
def explained(texts: Sequence[str]) -> Iterator[None]:
    """Say what an endpoint refuses where all that is asked is an empty prompt."""
    try:
        yield
    except ModelError as error:
        if len(texts) != 1 or texts[0].strip():
            raise
        raise ModelError(
            f"{error} It was asked with every part of the prompt deleted, which leaves nothing; "
            'give a mask such as "…", or protect a part.'
        ) from error
