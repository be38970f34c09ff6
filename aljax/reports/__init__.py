"""Histories as curves, tables and paired comparisons; contact sheets of tiles."""
