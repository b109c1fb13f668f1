"""Evaluate models: thresholds, metrics of images and of pixels, figures."""
