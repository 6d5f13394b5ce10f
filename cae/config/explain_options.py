"""Options of explanations: the sections that say how a trained model is read, and what is written of it."""

from __future__ import annotations

from dataclasses import dataclass

from cae.config.declaration import option


@dataclass
class ManifoldConfig:
    """The map of the classes: codes of the training split."""

    neighbours: int = option(10, "neighbours of each code in the graph", low=1)
    density: float = option(0.0, "how much ways through sparse regions of the graph count as longer", low=0, high=1)
    max_codes: int = option(5000, "largest number of codes in graph and searches (seeded subset)", low=10)
    embeddings: list[str] = option(["pca", "tsne"], "2-D maps to draw", choices=("pca", "tsne", "umap"))
    pairs: int = option(2000, "swaps classified for the reassignment rates", low=2)


@dataclass
class CounterfactualConfig:
    """How the class code is moved until the decision changes."""

    target: str = option(
        "runner-up", "class to reach: a class name, `runner-up`, `any` other class, or `all` of them in turn"
    )
    reference: str = option(
        "prototype",
        "code of the target class that the path leads to",
        choices=("nearest", "prototype", "medoid", "diverse", "image", "optimise"),
    )
    reference_image: str | None = option(None, "id or file of the reference, with reference=image")
    references: int = option(5, "references tried in turn, the best first, until the decision changes", low=1, high=64)
    path: str = option(
        "line", "straight line between the codes, or along the graph of training codes", choices=("line", "graph")
    )
    output: str = option(
        "residual",
        "residual: original plus the decoder's change; decoded: the decoder's image",
        choices=("residual", "decoded"),
    )
    steps: int = option(21, "points of the path that are decoded and classified", low=3, high=1001)
    margin: float = option(0.05, "by how much the target's probability must exceed every other", low=0, high=0.99)
    bisections: int = option(10, "halvings of the step in which the decision changes", low=0, high=30)
    optimise_steps: int = option(40, "steps of the search for a code with reference=optimise", low=1)
    average: int = option(
        1, "counterfactuals towards diverse references whose differences are averaged", low=1, high=64
    )
    batch_size: int = option(64, "images decoded and classified at once", low=1)


@dataclass
class TraverseConfig:
    """What ``explain.py traverse`` explains and writes."""

    images: str | None = option(None, "an image file or a folder of them; without it, a split of the data")
    split: str = option("test", "split to explain", choices=("train", "val", "test"))
    limit: int | None = option(None, "at most so many images, spread evenly over the classes", low=1)
    pictures: int | None = option(None, "strips and GIFs of at most so many of them; the table holds all", low=0)
    frames: int = option(7, "frames of the path shown in a strip", low=3, high=21)
    save: str = option(
        "images",
        "images: PNGs of counterfactual, path's end and evidence (where none is found, of the last two); "
        "all: every tensor too",
        choices=("images", "all", "none"),
    )
    gif: bool = option(True, "write an animated GIF for each image")
    strips: bool = option(True, "write a traversal strip (PNG) for each image")
    folder: str = option("traverse", "folder below `explanations` of the run; another one keeps earlier results")


@dataclass
class ExplainConfig:
    """What ``explain.py run`` and ``explain.py compare`` explain, and how it is measured."""

    images: str | None = option(None, "an image file or a folder of them; without it, a split of the data")
    split: str = option("test", "split to explain", choices=("train", "val", "test"))
    background: str | None = option(
        None, "folder of images that in-fills (marginal, gaussian) are made from; by default the training split"
    )
    limit: int | None = option(None, "at most so many images, spread evenly over the classes", low=1)
    target: str = option("predicted", "class to explain: `predicted`, or the name of a class")
    options: list[str] = option([], "options of the methods, METHOD.NAME=VALUE, such as pmi.window=16")
    batch_size: int = option(64, "images in one forward pass at most", low=1)
    metrics: str = option(
        "core", "how much is measured for each image and method", choices=("none", "quick", "core", "full")
    )
    checks: int = option(
        0, "images on which robustness and sanity of the methods are measured (many explanations each)", low=0
    )
    figures: int | None = option(24, "figures of at most so many images; null for all", low=0)
    folder: str | None = option(None, "folder below `explanations` of the run; by default `compare`, or the method")


@dataclass
class CausalConfig:
    """Causal explanation scores (``explain.py caes``): do the features that causes go with react to the masked area?"""

    masks: list[str] = option(
        ["data", "dilated", "shifted", "swapped", "pmi", "occlusion", "random"],
        "whose masks are scored, the first being what the others are compared with: `data` (annotators), poor versions "
        "of it (dilated, shifted, swapped), or explainers",
    )
    classes: list[str] = option([], "classes that are scored; empty for all that have masks")
    split: str = option("test", "split to score", choices=("train", "val", "test"))
    limit: int = option(100, "images of each class at most", low=20)
    threshold: str = option(
        "area",
        "how a map becomes a mask: the data mask's number of pixels, the `share` of largest value, or Otsu's threshold",
        choices=("area", "share", "otsu"),
    )
    share: float = option(0.2, "share of pixels of a mask where the data has none, or threshold=share", low=0, high=1)
    fill: str = option("black", "what replaces a removed area", choices=("black", "mean", "masked_blur"))
    rolls: int = option(20, "displaced copies of each mask, the control of area and shape", low=0)
    blobs: int = option(5, "random blobs of equal area for each image, a second control", low=0)
    bootstrap: int = option(2000, "resamples of the images for intervals", low=10)
    permutations: int = option(9999, "draws of the permutation tests", low=9)
    link_permutations: int = option(49, "permutations of the evidence behind the coefficients (slow)", low=0)
    ncc: str | None = option(None, "networks of the coefficient (ncc.safetensors); by default those shipped")
    batch_size: int = option(128, "images in one forward pass at most", low=1)
    folder: str = option("caes", "folder below `explanations` of the run")


@dataclass
class SanityConfig:
    """What ``explain.py sanity`` tests: do explanations follow what the classifier has learnt, and that alone?"""

    tests: list[str] = option(
        ["randomised", "shortcut", "labels", "guards"],
        "randomised: another classifier, other maps; shortcut: a marker is found; labels: edits follow the "
        "classifier, not the labels; guards: nothing is shown where there is nothing",
        choices=("randomised", "shortcut", "labels", "guards"),
    )
    images: int = option(120, "test images explained in each test, spread evenly over the classes", low=6)
    steps: int | None = option(None, "training steps of each CAE; by default cae.max_steps", low=1)
    folder: str = option("sanity", "folder of the run for models and results; another one for other cae options")


@dataclass
class GeneratorsConfig:
    """What ``explain.py compare-generators`` compares: counterfactual generators on the same images."""

    arms: list[str] = option(
        ["ours", "latent_shift", "gradient", "nearest", "shuffled", "residual", "published"],
        "generators, or yours by callable:package.module:name; @SEED behind one gives it another seed, as residual@1",
    )
    images: str | None = option(None, "an image file or a folder of them; without it, a split of the data")
    split: str = option("test", "split to explain", choices=("train", "val", "test"))
    limit: int | None = option(100, "at most so many images, spread evenly over the classes; null for all", low=1)
    steps: int | None = option(None, "training steps of each trained generator; by default cae.max_steps", low=1)
    width: int = option(64, "channels after the first halving of the residual network (published: 64)", low=1)
    diversity: int = option(
        16,
        "images of which counterfactuals towards up to three classes are compared with each other; 0 for none",
        low=0,
    )
    pictures: int = option(6, "rows of the picture", low=1, high=100)
    folder: str = option("generators", "folder below `explanations` of the run; another one keeps earlier results")


@dataclass
class ReportConfig:
    """What ``explain.py report`` puts into its one file."""

    size: float = option(
        15.0, "largest size of the file in megabytes; frames, then images, are left out to keep to it", low=2, high=1000
    )
    images: int | None = option(None, "at most so many images, spread evenly; null for all that fit", low=1)


@dataclass
class ServeConfig:
    """Where ``explain.py serve`` listens, and what it takes."""

    host: str = option(
        "127.0.0.1", "address that is listened at; any other than this machine's own needs `serve.token`"
    )
    port: int = option(7860, "port", low=1, high=65535)
    token: str | None = option(None, "secret of 16 characters or more that visitors must give")
    largest_upload: float = option(20.0, "largest file that is taken, in megabytes", low=0.1, high=1000)
    pixels: float = option(40.0, "largest picture that is taken, in millions of pixels", low=0.01, high=1000)
