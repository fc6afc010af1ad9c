"""Real processes for tests: workers, servers, proxies and poolers; and the app whose pipelines the workers execute."""
