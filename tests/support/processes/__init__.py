"""Real processes for tests: workers, servers, proxies and poolers; and the app with the workers' pipelines."""
