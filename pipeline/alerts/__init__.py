"""Alerts: options, what they say, how they are sent, and who has had them (delivery.Alerts)."""
