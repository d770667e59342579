"""The text that the demo models are trained on and measured with, all of it generated here."""
