"""The dock with its four steps."""
