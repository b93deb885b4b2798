"""The embedded landmark trackers: faces found, followed and identified."""
