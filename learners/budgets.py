"""The rules that make numbers comparable: splits, seeds, budgets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from dynamic_sparsity.errors import CorruptResultError, InvalidSettingError, UnknownNameError
from dynamic_sparsity.untrusted.names import check_name

__all__ = ["BUDGETS", "SEEDS", "Budget", "budget_from", "get_budget"]

SEEDS = (0, 1, 2)
"""Seeds of the leaderboard; a result is the mean over them."""


@dataclass(frozen=True)
class Budget:
    """What every learner may spend, and how it is evaluated.

    Training is on train, choices on validation, results on test.

    Attributes:
        name: Of the variant of the protocol.
        train_rows: Rows of the train split used, at most, evenly spread over it.
        steps: Gradient steps.
        batch_rows: Transitions per step.
        jacobian_rows: Of these, those on which a network's Jacobian is computed for a term of the loss.
        width: Units per hidden layer.
        learning_rate: Of Adam, at the start; it falls to 0 along half a cosine.
        judged_rows: Rows of the validation and of the test split used, at most, evenly spread over them.
        horizon: Steps of the open-loop predictions.
    """

    name: str
    train_rows: int
    steps: int
    batch_rows: int
    jacobian_rows: int
    width: int
    learning_rate: float
    judged_rows: int
    horizon: int

    def __post_init__(self) -> None:
        """Raise InvalidSettingError if a number is out of range."""
        for field in ("train_rows", "batch_rows", "jacobian_rows", "width", "judged_rows", "horizon"):
            if getattr(self, field) < 1:
                raise InvalidSettingError(f"{field} is {getattr(self, field)}; it must be at least 1")
        if self.steps < 0:
            raise InvalidSettingError(f"steps is {self.steps}; it must be at least 0")
        if self.jacobian_rows > self.batch_rows:
            raise InvalidSettingError(
                f"jacobian_rows is {self.jacobian_rows}, more than the {self.batch_rows} rows of a batch"
            )
        if not self.learning_rate > 0:
            raise InvalidSettingError(f"learning_rate is {self.learning_rate}; it must be positive")


BUDGETS = {
    budget.name: budget
    for budget in (
        # The paper's network: two hidden layers of 512 units.
        Budget("full", 1_000_000, 50_000, 256, 256, 512, 1e-3, 10_000, 10),
        # The complete leaderboard in well under an hour on two cores of a CPU; a quarter of the paper's width.
        Budget("mini", 16_000, 2_000, 128, 16, 128, 8e-3, 1_000, 10),
        # Seconds: only to see that everything runs.
        Budget("smoke", 500, 20, 32, 4, 16, 2e-3, 200, 3),
    )
}


def get_budget(name: str) -> Budget:
    """Return a variant of the protocol.

    Args:
        name: "full", "mini" or "smoke".

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in BUDGETS:
        raise UnknownNameError(f"there is no protocol {name!r}; there is {', '.join(map(repr, BUDGETS))}")
    return BUDGETS[name]


def budget_from(document: object, where: str) -> Budget:
    """Return a budget that was read from a file.

    Args:
        document: What JSON made of it.
        where: What to call it in messages.

    Raises:
        CorruptResultError: It is not one.
    """
    kinds: dict[str, tuple[type, ...]] = {
        field.name: {"name": (str,), "learning_rate": (int, float)}.get(field.name, (int,))
        for field in dataclasses.fields(Budget)
    }
    if not isinstance(document, dict) or document.keys() != kinds.keys():
        raise CorruptResultError(f"{where} is no budget; that has {', '.join(kinds)}")
    for name, legal in kinds.items():
        value = document[name]
        if type(value) not in legal or (not isinstance(value, str) and not abs(value) < 2**53):
            raise CorruptResultError(f"{where}: {name} is {value!r:.99}, which no budget has")
    check_name(document["name"], f"{where}: its name", CorruptResultError)
    try:
        return Budget(**document)
    except InvalidSettingError as error:
        raise CorruptResultError(f"{where} is no budget: {error}") from error
