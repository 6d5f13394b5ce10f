"""Transforms of images in which explanations are searched: shearlets, wavelets, pixels."""
