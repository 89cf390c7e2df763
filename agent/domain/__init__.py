"""Pure vocabulary of a site: node types and signs, physical ranges, night and sleep."""
