"""What one process keeps from one trial to the next."""

from __future__ import annotations

from harness.machine.memory import Budget
from harness.method.memo import Memo, Savings


class Session:
    """What one process keeps from one trial to the next.

    Attributes:
        opened: Networks and data; methods never see it, because an opened data source has labels.
        memo: Results of methods: targets, segment inputs.
        savings: What the use of kept results has saved so far.
        budget: For what methods keep; made by the first trial.
    """

    def __init__(self) -> None:
        self.savings = Savings()
        self.opened = Memo(self.savings)
        self.memo = Memo(self.savings)
        self.budget: Budget | None = None
