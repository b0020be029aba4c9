"""The data path: pools of uint8 images, the loaders that serve batches of them, and the base of every datamodule."""
