"""Replacing what readers called a copy by new volumes."""
