"""Evaluation: thresholds, metrics of images and of pixels, figures."""
