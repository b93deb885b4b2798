"""From a corpus to a fitted model: splits, clips, augmentation, settings and the fit itself."""
