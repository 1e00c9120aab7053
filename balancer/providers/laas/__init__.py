"""Wanted's LaaS API."""
