"""What the rooms above share: leases, liveness, notifications, outcomes, failures, database errors."""
