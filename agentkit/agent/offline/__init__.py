"""The planner that needs no key, no network and no GPU: rules and statistics, not a language model."""
