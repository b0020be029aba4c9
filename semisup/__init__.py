"""Semi-supervised image classification on PyTorch Lightning: few labels, many unlabeled pictures.

Names are imported from their own modules (`from semisup.classifier import Classifier`), so that `import semisup` and
the light verbs of the command line stay free of torch.
"""

__version__ = "0.1.0"
