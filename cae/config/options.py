"""Every option of the program, with those of ``data_options.py`` and ``explain_options.py``; see ``--help``."""

from __future__ import annotations

from dataclasses import dataclass, field

from cae.config.data_options import DataConfig
from cae.config.declaration import option
from cae.config.explain_options import (
    CausalConfig,
    CounterfactualConfig,
    ExplainConfig,
    GeneratorsConfig,
    ManifoldConfig,
    ReportConfig,
    SanityConfig,
    ServeConfig,
    TraverseConfig,
)


@dataclass
class ClassifierConfig:
    """The classifier to be explained: trained by ``train.py classifier``, or the user's own."""

    model: str = option(
        "resnet",
        "own: resnet, plain; trained: efficientnet_lite0; yours: torchvision:NAME, timm:NAME, torchscript, onnx, "
        "callable:module:name",
    )
    finetune: bool = option(
        False,
        "train the network of classifier.model further, from its weights on, with a new last layer for the classes of "
        "the data: efficientnet_lite0, or torchvision:NAME and timm:NAME with classifier.weights",
    )
    freeze: bool = option(
        False,
        "with classifier.finetune: only the new last layer is trained, on features that are computed once; minutes "
        "instead of an hour, and right more often where images are few and photographs",
    )
    weights: str | None = option(
        None, "your .safetensors, .pt/.pth state dict, TorchScript or .onnx file; `pretrained`: the library's own"
    )
    classes: list[str] = option(
        [],
        "your classifier's classes in the order of its outputs: a list, a file (a name a line, or JSON), "
        "or `imagenet`; "
        "by default those of the data, in their order",
        or_file=True,
    )
    check_images: int = option(
        256, "labelled images, spread over the classes, that it is tried on before it is explained; 0 for none", low=0
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
        "what your classifier gives; auto looks at its scores of blank images",
        choices=("auto", "logits", "probabilities"),
    )
    runtime: str = option(
        "torch",
        "what computes scores without gradients on CPUs; onnx (extra `onnx`) makes EfficientNets several times faster",
        choices=("torch", "onnx"),
    )
    mean: list[float] = option([], "per-channel mean that the classifier's inputs are normalised by; empty for none")
    std: list[float] = option([], "per-channel standard deviation for the same; empty for none")
    epochs: int | None = option(
        None, "passes over the training split at most; by default those of 2,000 steps, or 8 if these are more", low=1
    )
    patience: int = option(
        600, "steps without a better validation (balanced accuracy and loss) after which training ends", low=1
    )
    learning_rate: float = option(2e-3, "learning rate (AdamW); a quarter of it in further training", low=0)
    weight_decay: float = option(1e-2, "weight decay", low=0)
    noise: float = option(
        0.1,
        "largest noise added to half of the training images, on [0, 1]; guards against adversarial edits",
        low=0,
        high=1,
    )
    shift: int | None = option(
        None, "largest random shift of training images, in pixels; by default a twentieth of the side", low=0
    )
    rotation: float = option(10.0, "largest random rotation of training images, in degrees", low=0, high=180)
    scale: float = option(0.15, "largest random change of the size of what training images show", low=0, high=1)
    grey_levels: float = option(
        0.2, "largest random change of the contrast of training images; of the brightness, half of it", low=0, high=1
    )


@dataclass
class OracleConfig:
    """A second classifier, of another architecture, that no training ever follows: it says whether edits are real."""

    model: str = option(
        "plain",
        "architecture of the oracle, best unlike the target's; efficientnet_lite0 is trained further, from the weights "
        "that it brings",
        choices=("plain", "resnet", "efficientnet_lite0"),
    )
    freeze: bool = option(False, "of efficientnet_lite0, train only the new last layer, as classifier.freeze does")
    fallback: bool = option(
        True,
        "where it agrees on less than nine tenths of the validation images, try a frozen efficientnet_lite0 (extra "
        "`imagenet`) too, and keep the better",
    )
    width: int = option(16, "channels of its first stage", low=4, high=512)
    labels: str = option(
        "predictions",
        "what it learns: the target's predictions, or the dataset's labels",
        choices=("predictions", "dataset"),
    )
    epochs: int | None = option(None, "passes over the training split at most, as for the classifier", low=1)
    seed: int = option(1000, "its own seed", low=0)


@dataclass
class ModelConfig:
    """Sizes of the class association embedding (CAE)."""

    class_dim: int = option(8, "length of the class code", low=1, high=1024)
    class_code: str = option(
        "auto",
        "where the class code is read: in the classifier's own features, or by an encoder that learns from the images; "
        "auto: the classifier, where it shows features and gradients",
        choices=("auto", "classifier", "encoder"),
    )
    individual_channels: int | None = option(
        None,
        "channels of the individual code; by default one for every value of the patch of the image that a place stands "
        "for, so that nothing is lost",
        low=1,
    )
    width: int = option(16, "channels at the first stage of encoder and decoder", low=4)
    individual_downsampling: int | None = option(
        None,
        "halvings of the image size down to the individual code; by default to about 16 places a side",
        low=1,
        high=6,
    )
    class_downsampling: int | None = option(
        None,
        "halvings of the image size in class encoder and discriminator; by default to about 4 places a side",
        low=1,
        high=7,
    )
    residual_blocks: int = option(2, "residual blocks at the resolution of the individual code", low=0)
    mask: bool = option(True, "a mask decides where a swapped class code may change the image")
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
    class_probabilities: float = option(
        1.0, "L_cp: the classifier's probabilities are linearly readable from the class code", low=0
    )
    coherency: float = option(
        4.0, "L_bb: same class code, same probabilities of the classifier, whatever the recipient", low=0
    )
    adversarial: float = option(0.2, "L_adv: swaps look real", low=0)
    r1: float = option(1.0, "gradient penalty of the discriminator, every 16 steps", low=0)
    leakage: float = option(0.02, "L_leak: the individual code does not tell the class", low=0)
    minimal: float = option(6.0, "L_min: swaps change little", low=0)
    mask_area: float = option(0.5, "mean of the mask, over swaps that convince the classifier", low=0)
    undo: float = option(
        0.5, "L_undo: the original's class code paints back what a swap has changed (needs model.mask)", low=0
    )
    patch_swap: float = option(
        1.0, "L_patch: patches of other images that change the prediction (not for black boxes)", low=0
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
    weights: str | None = option(
        None, "gen_*.pt of the authors' released code, taken over instead of training (with preset=published)"
    )
    target: str = option(
        "classifier",
        "what the codes follow: the classifier's probabilities, or (published recipe) the labels",
        choices=("classifier", "labels"),
    )
    black_box: bool = option(False, "use no gradient of the classifier: distil it into the discriminator's class head")
    query_every: int = option(1, "black box: ask the classifier about swaps every so many steps", low=1)
    max_steps: int = option(1200, "training steps", low=1)
    warmup_steps: int | None = option(
        None,
        "steps of reconstruction and L_patch alone before any other term; by default 100, or 300 where class codes are "
        "not read in the classifier, but learnt",
        low=0,
    )
    ramp_steps: int = option(100, "steps over which the classifier's terms rise to full weight", low=0)
    recipients: int = option(
        16, "images autoencoded in one step; class codes to swap in come from the whole batch", low=1
    )
    patch_swaps: int = option(
        16, "patches of another image tried for each recipient in a step of the warm-up; half as many later", low=1
    )
    pairs: int = option(16, "swaps decoded in one step (recipient, donor), off the diagonal", low=1)
    learning_rate: float = option(1e-3, "learning rate of encoder and decoder", low=0)
    discriminator_learning_rate: float = option(1e-3, "learning rate of discriminator and leakage adversary", low=0)
    gradient_clip: float = option(1.0, "largest gradient norm of each optimiser; 0 for none", low=0)
    ema: float = option(0.99, "decay of the averaged weights used for validation and export", low=0, high=0.99999)
    augment: bool | None = option(
        None,
        "turn, scale and move training images and change their grey levels at random; by default where there are fewer "
        "than 3,000 of them",
    )
    surrogate: bool | None = option(
        None,
        "train a further network on the classifier's predictions and let swaps convince it too, so that edits show "
        "evidence instead of fooling one network; by default where there are fewer than 3,000 training images",
    )
    patience: int = option(
        3, "validations in a row that are no better than the best so far, after which the training ends", low=1
    )
    robust_views: bool = option(True, "the classifier sees generated images shifted, blurred or noisy at random")
    coherency_on: str = option(
        "both",
        "image that the classifier sees: decoded swap, residual transfer onto the original, or one of both at random",
        choices=("decoded", "residual", "both"),
    )
    validate_every: int = option(600, "steps between validations (and checkpoints)", low=1)
    validation_pairs: int = option(600, "swaps classified at each validation", low=2)
    max_reconstruction_error: float = option(
        0.08, "a checkpoint whose mean absolute error is larger is never chosen", low=0
    )
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    @property
    def follows_gradients(self) -> bool:
        """Whether swaps follow a classifier by its gradients: neither labels, a black box, nor the published recipe."""
        return self.preset == "default" and self.target == "classifier" and not self.black_box


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
    validate_every: int = option(500, "steps between validations (and checkpoints)", low=1)
    validation_crops: int = option(10_000, "patches of one validation, always the same", low=1)


@dataclass
class NCCConfig:
    """The neural causation coefficient: networks that tell cause from effect, trained on synthetic pairs."""

    networks: int = option(5, "networks trained from seeds of their own; what they agree on is the coefficient", low=1)
    steps: int = option(10_000, "training steps", low=1)
    pairs: int | None = option(10_000, "pairs that each network learns from; null draws new ones at every step", low=1)
    learning_rate: float = option(1e-2, "learning rate of RMSProp", low=0)
    width: int = option(100, "units of a hidden layer", low=1)
    dropout: float = option(0.25, "share of units left out in training", low=0, high=0.99)
    validation_pairs: int = option(500, "pairs on which the accuracy is measured", low=1)
    validate_every: int = option(500, "steps between measurements (and checkpoints)", low=1)


@dataclass
class LoggingConfig:
    """Loggers beside the CSV file that is always written."""

    wandb: str = option("off", "Weights & Biases", choices=("off", "online", "offline"))
    wandb_project: str = option("cae", "project name there")
    wandb_group: str | None = option(None, "runs there that belong together; an experiment gives its name")
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
    generators: GeneratorsConfig = field(default_factory=GeneratorsConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
