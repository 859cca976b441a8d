"""Tokens as vectors."""
