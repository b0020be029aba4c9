"""Augmentation in whole batches, on the device: `geometry` moves pixels, `views` names what strategies ask for."""
