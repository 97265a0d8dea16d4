"""Modules that answer as other packages do: `fer_rs.compat.fer` and `fer_rs.compat.deepface`."""
