"""Tests of the room `aws`."""
