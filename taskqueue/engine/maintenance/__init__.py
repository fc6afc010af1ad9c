"""Work that falls due without a caller: timers, cron, sweeps, recovery, retention, rollups, bulk operations."""
