"""A pipeline that asks people."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, Field

from taskqueue import pipeline, wait_for


class Approval(BaseModel):
    """Whether the money is sent back."""

    order: int = Field(description="The order's number.")
    approved: bool = False
    amount: int = Field(default=10, le=100, description="In euros.")


@pipeline("ask/refund")
def refund(order: int, customer: str = "") -> str:
    approval = wait_for(
        "refund/approved",
        match={"order": order},
        model=Approval,
        assignees=["anna", "group:finance"],
        question=f"Refund order {order}?",
        timeout=timedelta(days=1),
    )
    return "no answer" if approval is None else f"{approval.approved} {approval.amount}"
