"""How good a model is: thresholds, metrics of images and pixels, figures."""
