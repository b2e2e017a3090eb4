"""Colang 1.0 and 2.x, read into one neutral form and walked to where each user message ends."""
