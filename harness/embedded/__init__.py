"""The embedded default: a small vision transformer, its weights and Fashion-MNIST images. Works offline."""
