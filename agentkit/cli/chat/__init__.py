"""The conversation on a terminal or in a pipe: what is said, asked, run and judged, told as one stream of events."""
