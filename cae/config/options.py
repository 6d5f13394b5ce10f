"""Every option of the program. ``python train.py --help`` prints this file as a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cae.config.data_sources import SOURCES


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None, choices: tuple = ()) -> Any:
    """A dataclass field with the sentence that ``--help`` prints and the range that the parser checks (inclusive)."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class LesionsConfig:
    """The embedded data: head-like slices with exact lesion masks."""

    train: int = option(4000, "images of the training split", low=1)
    val: int = option(600, "images of the validation split", low=1)
    test: int = option(600, "images of the test split", low=1)
    classes: list[str] = option(
        ["healthy", "mass", "cyst"], "which classes to draw", choices=("healthy", "mass", "cyst")
    )
    noise: float = option(0.02, "standard deviation of the grey-value noise, on [0, 1]", low=0, high=0.5)
    contrast: float = option(1.0, "factor on the contrast of the lesions; smaller is harder", low=0.05, high=3)
    shortcut: float | None = option(
        None,
        "plant a corner marker that goes with `shortcut_class` this strongly: 0 at random, 1 always",
        low=0,
        high=1,
    )
    shortcut_class: str = option("mass", "class that the planted marker goes with", choices=("healthy", "mass", "cyst"))


@dataclass
class DataConfig:
    """Which images, and how they are split and resized."""

    source: str = option("lesions", "where images come from", choices=tuple(SOURCES))
    path: str | None = option(None, "root folder (folder, paired), CSV or Parquet file (table), .npz file (medmnist)")
    image_size: int = option(64, "side in pixels to which images are resized and centre-cropped", low=8, high=4096)
    crop: float = option(
        1.0, "share of the shorter side that image files keep, centred, before resizing", low=0.1, high=1
    )
    channels: int = option(1, "1 for grey, 3 for RGB", choices=(1, 3))
    mixed_channels: bool = option(False, "accept grey beside colour files (all are converted to `channels`)")
    batch_size: int = option(64, "images in one training batch", low=1)
    workers: int = option(0, "processes that load images; 0 loads in the main process", low=0)
    seed: int = option(0, "seed of the splits and of drawn images", low=0)
    val_share: float = option(0.15, "share split off for validation where the source brings no split", low=0, high=0.9)
    test_share: float = option(0.15, "share split off for testing where the source brings no split", low=0, high=0.9)
    cache: bool = option(True, "keep decoded images in memory (each is read once)")
    flip: bool = option(False, "mirror training images at random, left to right")
    columns: dict[str, str] = option(
        {"path": "path", "label": "label", "split": "split", "mask": "mask"}, "column names of a table source"
    )
    lesions: LesionsConfig = field(default_factory=LesionsConfig)


@dataclass
class ClassifierConfig:
    """The classifier to be explained: trained by ``train.py classifier``, or the user's own."""

    model: str = option(
        "resnet",
        "own: resnet, plain; trained: efficientnet_lite0; yours: torchvision:NAME, timm:NAME, torchscript, onnx, "
        "callable:module:name",
    )
    weights: str | None = option(
        None, "your .safetensors, .pt/.pth state dict, TorchScript or .onnx file; `pretrained`: the library's own"
    )
    width: int = option(16, "channels of the first stage of the own networks", low=4, high=512)
    input_size: int | None = option(
        None, "side in pixels that the classifier wants; by default that of the data", low=8
    )
    channels: int | None = option(
        None, "channels that the classifier wants; by default those of its first convolution", low=1
    )
    scores: str = option(
        "auto",
        "what your classifier gives; auto looks at its answers to blank images",
        choices=("auto", "logits", "probabilities"),
    )
    runtime: str = option(
        "torch",
        "what computes answers without gradients on CPUs; onnx (extra `onnx`) makes EfficientNets several times faster",
        choices=("torch", "onnx"),
    )
    mean: list[float] = option([], "per-channel mean that the classifier's inputs are normalised by; empty for none")
    std: list[float] = option([], "per-channel standard deviation for the same; empty for none")
    epochs: int = option(8, "passes over the training split", low=1)
    learning_rate: float = option(2e-3, "peak learning rate (one-cycle schedule, AdamW)", low=0)
    weight_decay: float = option(1e-2, "weight decay", low=0)
    noise: float = option(
        0.1, "largest noise added to training images, on [0, 1]; guards against adversarial edits", low=0, high=1
    )
    shift: int = option(3, "largest random shift of training images, in pixels", low=0)


@dataclass
class OracleConfig:
    """A second classifier, of another architecture, that no training ever follows: it judges whether edits are real."""

    model: str = option("plain", "architecture of the oracle, best unlike the target's", choices=("plain", "resnet"))
    width: int = option(16, "channels of its first stage", low=4, high=512)
    labels: str = option(
        "verdicts", "what it learns: the target's verdicts, or the dataset's labels", choices=("verdicts", "dataset")
    )
    epochs: int = option(6, "passes over the training split", low=1)
    seed: int = option(1000, "its own seed", low=0)


@dataclass
class ModelConfig:
    """Sizes of the class association embedding (CAE)."""

    class_dim: int = option(8, "length of the class code", low=1, high=1024)
    individual_channels: int = option(16, "channels of the individual code", low=1)
    width: int = option(16, "channels at the first stage of encoder and decoder", low=4)
    individual_downsampling: int = option(2, "halvings of the image size down to the individual code", low=1, high=6)
    class_downsampling: int = option(4, "halvings of the image size in the class encoder before pooling", low=1, high=7)
    residual_blocks: int = option(2, "residual blocks at the resolution of the individual code", low=0)
    gate: bool = option(True, "a mask head decides where a swapped class code may change the image")
    evidence: bool = option(True, "the editor sees the class encoder's maps: where it finds what tells the classes")
    discriminator_width: int = option(16, "channels at the first stage of the discriminator", low=4)


@dataclass
class LossConfig:
    """Weights of the loss terms; 0 switches a term and its computation off."""

    reconstruction: float = option(10.0, "L_rec: image against its reconstruction", low=0)
    cycle: float = option(
        0.0, "L_cyc: image against the decoding of its class code with the swap's individual code", low=0
    )
    class_code: float = option(0.3, "L_cc: the donor's class code is readable from the swap", low=0)
    individual_code: float = option(0.0, "L_ss: the recipient's individual code is readable from the swap", low=0)
    class_answer: float = option(1.0, "L_ca: the classifier's answer is linearly readable from the class code", low=0)
    coherency: float = option(
        4.0, "L_bb: same class code, same answer of the classifier, whatever the recipient", low=0
    )
    reconstruction_answer: float = option(0.0, "L_rc: the reconstruction keeps the classifier's answer", low=0)
    adversarial: float = option(0.2, "L_adv: swaps look real", low=0)
    r1: float = option(1.0, "gradient penalty of the discriminator, every 16 steps", low=0)
    leakage: float = option(0.02, "L_leak: the individual code does not tell the class", low=0)
    minimal: float = option(6.0, "L_min: swaps change little", low=0)
    gate_area: float = option(0.5, "mean of the gate's mask, over swaps that convince the classifier", low=0)
    gate_variation: float = option(0.0, "total variation of the gate's mask", low=0)
    undo: float = option(
        0.5, "L_undo: the original's class code paints back what a swap has changed (needs model.gate)", low=0
    )
    graft: float = option(
        1.0, "L_graft, in the warm-up: patches of other images that change the verdict (not for black boxes)", low=0
    )
    variance: float = option(1.0, "L_var: no dead dimension of the class code", low=0)
    covariance: float = option(0.2, "L_cov: no duplicate dimension of the class code", low=0)
    smote: float = option(0.5, "L_smote: the space between class codes is valid too", low=0)
    temperature: float = option(2.0, "softmax temperature of the classifier inside the losses only", low=0.1, high=100)


@dataclass
class CAEConfig:
    """Training of the class association embedding."""

    preset: str = option(
        "default", "default: ours; published: the published network and losses", choices=("default", "published")
    )
    target: str = option(
        "classifier",
        "what the codes follow: the classifier's answers, or (published recipe) the labels",
        choices=("classifier", "labels"),
    )
    black_box: bool = option(False, "use no gradient of the classifier: distil it into the discriminator's class head")
    query_every: int = option(1, "black box: ask the classifier about swaps every so many steps", low=1)
    max_steps: int = option(1200, "training steps", low=1)
    warmup_steps: int = option(300, "steps of reconstruction alone before any other term", low=0)
    ramp_steps: int = option(100, "steps over which the classifier's terms rise to full weight", low=0)
    recipients: int = option(
        16, "images autoencoded in one step; class codes to swap in come from the whole batch", low=1
    )
    grafts: int = option(16, "patches of another image tried for each recipient in a step of the warm-up", low=1)
    pairs: int = option(16, "swaps decoded in one step (recipient, donor), off the diagonal", low=1)
    learning_rate: float = option(1e-3, "learning rate of encoder and decoder", low=0)
    discriminator_learning_rate: float = option(1e-3, "learning rate of discriminator and leakage adversary", low=0)
    gradient_clip: float = option(1.0, "largest gradient norm of each optimiser; 0 for none", low=0)
    ema: float = option(0.99, "decay of the averaged weights used for validation and export", low=0, high=0.99999)
    robust_views: bool = option(True, "the classifier sees generated images shifted, blurred or noisy at random")
    coherency_on: str = option(
        "both",
        "image judged by the classifier: decoded swap, residual transfer onto the original, or one of both at random",
        choices=("decoded", "residual", "both"),
    )
    validate_every: int = option(600, "steps between validations (and checkpoints)", low=1)
    validation_pairs: int = option(600, "swaps judged at each validation", low=2)
    max_reconstruction_error: float = option(
        0.08, "a checkpoint whose mean absolute error is larger is never chosen", low=0
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)


@dataclass
class ManifoldConfig:
    """The map of the classes: codes of the training split."""

    neighbours: int = option(10, "neighbours of each code in the graph", low=1)
    density: float = option(0.0, "how much ways through sparse regions of the graph count as longer", low=0, high=1)
    max_codes: int = option(5000, "largest number of codes in graph and searches (seeded subset)", low=10)
    embeddings: list[str] = option(["pca", "tsne"], "2-D maps to draw", choices=("pca", "tsne", "umap"))
    pairs: int = option(2000, "swaps judged for the reassignment rates", low=2)


@dataclass
class CounterfactualConfig:
    """How the class code is moved until the decision changes."""

    target: str = option(
        "runner-up", "class to reach: a class name, `runner-up`, `any` other class, or `all` of them in turn"
    )
    reference: str = option(
        "prototype",
        "code of the target class to walk towards",
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
    steps: int = option(21, "points of the path that are decoded and judged", low=3, high=1001)
    margin: float = option(0.05, "by how much the target's probability must exceed every other", low=0, high=0.99)
    bisections: int = option(10, "halvings of the step in which the decision changes", low=0, high=30)
    optimise_steps: int = option(40, "steps of the search for a code with reference=optimise", low=1)
    optimise_distance: float = option(
        0.02, "weight of the squared distance to the image's own code in that search", low=0
    )
    average: int = option(
        1, "counterfactuals towards diverse references whose differences are averaged", low=1, high=64
    )
    batch_size: int = option(64, "images decoded and judged at once", low=1)


@dataclass
class TraverseConfig:
    """What ``explain.py traverse`` explains and writes."""

    images: str | None = option(None, "an image file or a folder of them; without it, a split of the data")
    split: str = option("test", "split to explain", choices=("train", "val", "test"))
    limit: int | None = option(None, "at most so many images, spread evenly over the classes", low=1)
    pictures: int | None = option(None, "strips and GIFs of at most so many of them; the table holds all", low=0)
    frames: int = option(7, "frames of the path shown in a strip", low=3, high=21)
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
class SamplerConfig:
    """Training of the learned in-fill of the information maps: a patch, given the image around it."""

    window: int | None = option(None, "side of the patch in pixels; by default about a seventh of the image", low=2)
    architecture: str = option(
        "unet", "unet: ours; published: the authors' network, for windows of 4 or 8", choices=("unet", "published")
    )
    head: str = option(
        "categorical",
        "categorical: independent pixels of 256 levels; lowrank: one Gaussian over the patch",
        choices=("categorical", "lowrank"),
    )
    width: int = option(32, "channels of the U-Net's finest level", low=4)
    factors: int = option(16, "factors of the Gaussian's covariance, with head=lowrank", low=1)
    max_steps: int | None = option(None, "training steps; by default 5,000, and 30,000 above 64 pixels a side", low=1)
    warmup_steps: int = option(500, "steps over which the learning rate rises, a fifth of the training at most", low=0)
    crops: int = option(128, "patches of one step", low=1)
    learning_rate: float = option(1e-3, "peak learning rate (then along a cosine, AdamW)", low=0)
    weight_decay: float = option(0.01, "weight decay", low=0)
    gradient_clip: float = option(1.0, "largest gradient norm; 0 for none", low=0)
    ema: float = option(0.999, "decay of the averaged weights, which are validated and kept", low=0, high=0.99999)
    validate_every: int = option(500, "steps between validations (and checkpoints)", low=1)
    validation_crops: int = option(10_000, "patches of one validation, always the same", low=1)


@dataclass
class NCCConfig:
    """The neural causation coefficient: networks that tell cause from effect, trained on synthetic pairs."""

    networks: int = option(5, "networks trained from seeds of their own; what they agree on is the coefficient", low=1)
    steps: int = option(10_000, "training steps", low=1)
    pairs: int | None = option(10_000, "pairs that each network learns from; null draws new ones at every step", low=1)
    batch_pairs: int = option(16, "pairs in one step, each shown in both directions and once permuted", low=2)
    learning_rate: float = option(1e-2, "learning rate of RMSProp", low=0)
    width: int = option(100, "units of a hidden layer", low=1)
    dropout: float = option(0.25, "share of units left out in training", low=0, high=0.99)
    validation_pairs: int = option(500, "pairs on which the accuracy is measured", low=1)
    validate_every: int = option(500, "steps between measurements (and checkpoints)", low=1)


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
    top: float = option(0.01, "share of features that count as the top, at least one", low=0, high=0.5)
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
class LoggingConfig:
    """Loggers beside the CSV file that is always written."""

    wandb: str = option("off", "Weights & Biases", choices=("off", "online", "offline"))
    wandb_project: str = option("cae", "project name there")
    tensorboard: bool = option(False, "write TensorBoard event files")
    every: int = option(20, "steps between two lines of the log", low=1)
    progress: bool = option(True, "show progress bars")


@dataclass
class TrainerConfig:
    """Where the program runs; the values are Lightning's."""

    accelerator: str = option("auto", "auto, cpu, gpu, …")
    devices: str = option("auto", "number of devices, a list like 0,1, or auto")
    num_nodes: int = option(1, "machines", low=1)
    strategy: str = option(
        "auto", "auto, or a strategy of Lightning; several devices take ddp_find_unused_parameters_true"
    )
    precision: str = option("32-true", "arithmetic", choices=("32-true", "bf16-mixed", "16-mixed"))
    threads: int | None = option(None, "CPU threads of PyTorch; by default all cores", low=1)


@dataclass
class Config:
    """The program's options. ``cae-train COMMAND RECIPE … key=value …``"""

    name: str = option("lesions", "name of the run: everything is written to `runs/<name>`")
    runs: str = option("runs", "folder of all runs")
    seed: int = option(0, "seed of training and explanation", low=0)
    resume: str | None = option(None, "`last` continues an interrupted training", choices=("last",))
    overwrite: bool = option(False, "replace what the run folder already holds of this stage")
    pretrained: bool = option(False, "explain with the trained models that the package carries (lesions, 64 pixels)")
    data: DataConfig = field(default_factory=DataConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    oracle: OracleConfig = field(default_factory=OracleConfig)
    cae: CAEConfig = field(default_factory=CAEConfig)
    manifold: ManifoldConfig = field(default_factory=ManifoldConfig)
    counterfactual: CounterfactualConfig = field(default_factory=CounterfactualConfig)
    traverse: TraverseConfig = field(default_factory=TraverseConfig)
    method: str = option("pmi", "explainer of `explain.py run`; `explain.py run method=list` lists them all")
    methods: list[str] = option(
        ["pmi", "occlusion", "rise", "integrated_gradients", "gradcam", "random"], "explainers of `explain.py compare`"
    )
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    ncc: NCCConfig = field(default_factory=NCCConfig)
    caes: CausalConfig = field(default_factory=CausalConfig)
    sanity: SanityConfig = field(default_factory=SanityConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
