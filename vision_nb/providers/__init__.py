"""The models: one wrapper a protocol, eight methods for all."""
