"""A line of the benchmark's table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One line of the table.

    A value and its goal, `value` `sense` `goal`. value: None if it cannot be measured here.
    """

    name: str
    value: float | None
    goal: float
    sense: str = ">="
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a value."""
        if self.value is None:
            return None
        return self.value >= self.goal if self.sense == ">=" else self.value <= self.goal
