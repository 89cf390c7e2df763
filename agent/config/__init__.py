"""The configuration: one TOML file and the environment, validated into frozen `*Config` models.

Add a key in the model of its table, then in config.example.toml and the docs.
Every mistake is a `ConfigError` that names file, key, rule and value.
"""
