"""What pyproject.toml cannot say: the recipes of ``configs/`` travel in the wheel as ``cae/recipes``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["cae", "cae.*", "explainers", "explainers.*"]), "cae.recipes"],
    package_dir={"cae.recipes": "configs"},
)
