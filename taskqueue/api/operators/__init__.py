"""What operators read and change, other than tasks: limits, rates, bulk operations, workers, skips and tokens."""
