"""From a configuration to checked settings."""
