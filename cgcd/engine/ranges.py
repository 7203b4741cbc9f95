"""Ranges of a strategy's settings that several methods share."""

from __future__ import annotations

from cgcd.vocabulary import InputError


def check_above_zero(**settings: float) -> None:
    """Refuse settings of a strategy, by name, that are not above 0.

    Raises:
        InputError: for the first that is 0, less, or no number.
    """
    for name, value in settings.items():
        if not value > 0:
            raise InputError(
                f"{name} is {value}; wanted a number above 0: leave strategy.{name} out for the "
                "default"
            )
