"""Rollouts: a new version gets a growing share of the traffic while it does well, and is taken back when not."""
