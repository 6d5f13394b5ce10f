"""The questions of ``docs/results``: for each, the files that answer it, its picture, and its long tables."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One line of a picture: its words, and where its figures are.

    Attributes:
        words: shown at the left.
        stem: of the file in ``benchmarks/results``.
        key: put into the panels' keys in place of ``{}``.
        ours: drawn in the colour of our own methods.
        former: text in the panels' keys that ``instead`` replaces, for a row that is measured otherwise.
        instead: see there.
    """

    words: str
    stem: str
    key: str = ""
    ours: bool = False
    former: str = ""
    instead: str = ""

    def key_of(self, panel: Panel) -> str:
        """Name of this row's figure in a panel."""
        return panel.key.replace("{}", self.key).replace(self.former or "\0", self.instead)


@dataclass(frozen=True)
class Panel:
    """One column of a picture.

    Attributes:
        title: what is measured.
        key: name of the figure, with ``{}`` in place of the row's own.
        goal: drawn as a dashed line; None for none.
        better: ``high``, ``low``, or empty where no direction is.
        range: of the axis; None leaves it to the figures.
    """

    title: str
    key: str
    goal: float | None = None
    better: str = "high"
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Question:
    """One page of ``docs/results``; its texts are the section of the same name in ``benchmarks/results/notes.md``."""

    name: str
    rows: tuple[Row, ...]
    panels: tuple[Panel, ...]
    caption: str
    tables: tuple[str, ...]
    stems: tuple[str, ...] = field(default=())  # whose commands are shown; by default those of the rows


SHARE = (-0.02, 1.02)
LESIONS, SIZE_128 = "counterfactual_quality_lesions", "counterfactual_quality_lesions_gpu"
DIGITS, XRAYS = "counterfactual_quality_digits", "counterfactual_quality_pneumonia"
RANGE = (
    "Points: means over seeds, bars: their range; of one seed a 95 % bootstrap interval over images, where known. "
    "End to end: the present recipe (brain slices and fruit before there was a surrogate)."
)
DATA_SETS = (
    Row("lesions, end to end", "pipeline_lesions", "", ours=True),
    Row("digits, end to end", "pipeline_digits", "", ours=True),
    Row("chest X-rays, end to end", "pipeline_pneumonia", "", ours=True),
    Row("brain slices, 128 x 128, end to end", "pipeline_brain", "", ours=True),
    Row("fruit, photographs 128 x 128, end to end", "pipeline_fruit", "", ours=True),
    Row("lesions, recipe before", LESIONS, "ours/"),
    Row("lesions, 128 x 128, recipe before", SIZE_128, "ours/"),
    Row("digits, recipe before", DIGITS, "ours/"),
    Row("chest X-rays, recipe before", XRAYS, "ours/"),
    Row("lesions, published recipe", LESIONS, "published/"),
    Row("chest X-rays, published recipe", XRAYS, "published/"),
)
EMPTY = "{}towards_empty/localisation/"
EXPLAINERS = {
    "gradcam": "Grad-CAM", "integrated_gradients": "Integrated Gradients", "smoothgrad": "SmoothGrad",
    "occlusion": "Occlusion", "rise": "RISE", "lime": "LIME", "pmi": "PMI", "ig": "information gain",
    "random": "control: random map",
}  # fmt: skip
GENERATORS = {
    "ours": "ours", "residual": "residual network, after COIN", "latent_shift": "latent shift",
    "gradient": "gradient in pixels (floor)", "nearest": "nearest image of the class, faded in",
    "shuffled": "control: our change, shuffled",
}  # fmt: skip
ABLATION = {
    "ours": "ours", "without_classifier": "on labels, no classifier in the loop",
    "without_evidence": "without the class encoder's maps in the editor", "without_gate": "without a mask",
    "without_grafts": "without patch swaps in the warm-up", "without_undo": "swaps are not undone",
    "without_discriminator": "without a discriminator", "without_small_edits": "without terms for small edits",
    "published": "published recipe", "published_verdicts": "published recipe, on predictions",
}  # fmt: skip
SANITY = {
    "randomised/brightness/correlation_of_seeds": "maps alike: two trainings for one classifier",
    "randomised/brightness/correlation": "… a classifier of brightness (must be below)",
    "randomised/permuted/correlation": "… of permuted labels (must be below)",
    "randomised/random/correlation": "… of random weights (must be below)",
    "shortcut/follower/removed": "change in the marker's box, image has it (≥ 0.5)",
    "shortcut/follower/added": "… image lacks it (≥ 0.5)",
    "shortcut/control/energy": "… classifier does not use it (near 0)",
    "labels/classifier": "swaps follow the classifier, not the label (≥ 0.9)",
    "labels/oracle": "… the label (well below)",
}
COMPARED = {
    "cae": "CAE counterfactual", "pmi": "PMI", "occlusion": "Occlusion", "rise": "RISE",
    "integrated_gradients": "Integrated Gradients", "gradcam": "Grad-CAM", "random": "control: random map",
    "centre": "control: centre", "edges": "control: edges",
}  # fmt: skip
PHOTOGRAPHS = {
    "pmi@masked_blur": "PMI, masked blur", "pmi@gray": "PMI, grey (53 of 89)", "pmi@blur": "PMI, blur (53 of 89)",
    "pmi@marginal": "PMI, marginal (53 of 89)", "pmi@gaussian": "PMI, Gaussian (53 of 89)",
    "pmi@one_size": "PMI, one size (32 of 89)", "occlusion": "Occlusion", "occlusion@wide": "Occlusion, 64 px",
    "rise": "RISE", "integrated_gradients": "Integrated Gradients (53 of 89)", "gradcam": "Grad-CAM",
    "random": "control: random map",
}  # fmt: skip
MASK_METHODS = {
    "shearletx": "ShearletX, ours", "shearletx_published": "ShearletX, published",
    "waveletx_published": "WaveletX, published",
    "cartoonx_published": "CartoonX, published", "pixelmask_published": "pixel mask, published",
    "smoothmask_published": "smooth mask, published",
}  # fmt: skip
FULL, LONG = "shearletx_quality", "shearletx_quality_gpu"
MASKS = ("data", "dilated", "shifted", "swapped", "occlusion", "integrated_gradients", "gradcam", "random")
XRAY_MASKS = ("centre", "edges", "random", "occlusion", "integrated_gradients", "gradcam", "pmi")
SCORES = (
    Panel("necessity, nats", "{}/necessity"),
    Panel("necessity beyond equal area, nats", "{}/necessity_gain"),
    Panel("sufficiency, nats", "{}/sufficiency"),
)
IMAGES = "Points: means over images, bars: 95 % bootstrap intervals."


def _rows(words: dict[str, str], stem: str, ours: tuple[str, ...] = ()) -> tuple[Row, ...]:
    return tuple(Row(text, stem, key, ours=key in ours) for key, text in words.items())


def _masks(names: tuple[str, ...], stem: str, *classes: str) -> tuple[Row, ...]:
    shown = {"data": "annotators, exact", "dilated": "… dilated", "shifted": "… shifted", "swapped": "… swapped"}
    return tuple(
        Row(f"{of}: {shown.get(name, name.replace('_', ' '))}", stem, f"{of}/{name}", ours=name == "data")
        for of in classes
        for name in names
    )


QUESTIONS = (
    Question(
        "class_codes", DATA_SETS,
        (Panel("reassignment, classifier", "{}cae/reassignment", 0.98, range=SHARE),
         Panel("reassignment, oracle", "{}cae/reassignment_oracle", 0.95, range=SHARE),
         Panel("individual code tells the class", "{}cae/individual_probe", better="low", range=SHARE)),
        RANGE + " Dashed: what is wanted on lesions.", ("end_to_end", "counterfactual_quality"),
    ),
    Question(
        "counterfactuals", DATA_SETS,
        (Panel("found", "{}counterfactual/found", 0.99, range=SHARE),
         Panel("oracle agrees at the boundary", "{}counterfactual/validity_oracle", range=SHARE),
         Panel("oracle agrees at the path's end", "{}counterfactual/validity_oracle_end", range=SHARE),
         Panel("COUT of the path's end", "{}counterfactual/end_cout", 0.6, range=(-0.7, 1.02))),
        RANGE + " Dashed: what is wanted on lesions. The boundary was measured end to end alone.",
        ("end_to_end", "counterfactual_quality"),
    ),
    Question(
        "localisation",
        (Row("ours, towards healthy, end to end", "pipeline_lesions", "", ours=True),
         Row("recipe before, towards healthy", LESIONS, "ours/"),
         Row("recipe before, towards the runner-up", LESIONS, "ours/", former="towards_empty/"),
         Row("published recipe, towards healthy", LESIONS, "published/"),
         *(Row(words, LESIONS, f"{name}/") for name, words in EXPLAINERS.items())),
        (Panel("Dice (Otsu)", EMPTY + "end_dice", 0.75, range=SHARE),
         Panel("Dice (best threshold)", EMPTY + "end_dice_best", 0.85, range=SHARE),
         Panel("pointing game", EMPTY + "end_pointing", 0.97, range=SHARE)),
        RANGE + " Dashed: what is wanted.", ("counterfactual_quality",),
    ),
    Question(
        "generators",
        (*_rows({name: f"lesions: {words}" for name, words in GENERATORS.items()}, "generators_lesions", ("ours",)),
         *_rows({name: f"X-rays: {words}" for name, words in GENERATORS.items()}, "generators_pneumonia", ("ours",))),
        (Panel("found", "{}/found", range=SHARE),
         Panel("oracle agrees at the path's end", "{}/oracle_end", range=SHARE),
         Panel("Dice of the evidence", "{}/evidence_dice", range=SHARE),
         Panel("kernel distance", "{}/end_skid", better="low")),
        IMAGES + " Generators without a path are measured at the counterfactual.", ("generators",),
    ),
    Question(
        "ablation", tuple(Row(words, LESIONS, f"{name}/", ours=name == "ours") for name, words in ABLATION.items()),
        (Panel("reassignment, classifier", "{}cae/reassignment", 0.98, range=SHARE),
         Panel("… oracle", "{}cae/reassignment_oracle", 0.95, range=SHARE),
         Panel("Dice towards healthy", EMPTY + "end_dice", 0.75, range=SHARE),
         Panel("changed off the lesion", EMPTY + "outside_median", 0.02, "low")),
        "Points: means over seeds, bars: their range. Dashed: what is wanted of ours.", ("counterfactual_quality",),
    ),
    Question(
        "training_cost",
        tuple(Row(f"{size} x {size}, {precision}", "training_cost_measured", f"{size}/{precision}", ours=True)
              for size in (64, 128, 256) for precision in ("32-true", "bf16-mixed")),
        (Panel("milliseconds of a step", "{}/milliseconds", better="low"),
         Panel("peak memory, GiB", "{}/peak_gib", better="low"),
         Panel("minutes of the recipe's steps", "{}/training_minutes", better="low")),
        "Whole steps of all networks, medians; no intervals were measured.", ("training_cost",),
        ("training_cost", "training_cost_measured", "training_step", "pipeline_lesions"),
    ),
    Question(
        "sanity", _rows(SANITY, "sanity"),
        (Panel("ours, seed 5", "ours/{}", better="", range=(-0.12, 1.05)),
         Panel("published recipe, seed 4", "published/{}", better="", range=(-0.12, 1.05))),
        IMAGES + " In brackets what must be.", ("sanity",),
    ),
    Question(
        "explainers_lesions", _rows(COMPARED, "explanations_lesions", ("cae", "pmi")),
        (Panel("deletion with in-fill", "{}/deletion_infill_excess", 0),
         Panel("cell insertion", "{}/insertion_auc_excess", 0),
         Panel("cell deletion", "{}/deletion_auc_excess", 0),
         Panel("pointing game", "{}/pointing", range=SHARE),
         Panel("AUPRC of the mask", "{}/auprc", range=SHARE)),
        IMAGES + " The first three: how much better than random orders (dashed).", ("explanations",),
    ),
    Question(
        "explainers_photographs",
        _rows(PHOTOGRAPHS, "explanations_photographs", tuple(name for name in PHOTOGRAPHS if name.startswith("pmi"))),
        (Panel("deletion with in-fill", "{}/deletion_infill_excess", 0),
         Panel("cell insertion", "{}/insertion_auc_excess", 0),
         Panel("cell deletion", "{}/deletion_auc_excess", 0)),
        IMAGES + " How much better than random orders (dashed).", ("explanations",),
    ),
    Question(
        "information_cost",
        _rows({"masked_blur": "masked blur", "masked_blur (ONNX Runtime)": "masked blur, ONNX Runtime",
               "gaussian": "Gaussian", "gaussian (ONNX Runtime)": "Gaussian, ONNX Runtime"}, "information_cost",
              ("masked_blur", "masked_blur (ONNX Runtime)")),
        (Panel("evaluations of one image", "{}/evaluations", 1500, "low"),
         Panel("time beyond the classifier, share", "{}/beyond_classifier", 0.1, "low"),
         Panel("seconds", "{}/seconds", better="low")),
        "One photograph. Dashed: what is wanted at most.", ("information_cost",),
    ),
    Question(
        "infills",
        _rows({"pneumonia/lowrank": "learned, head lowrank", "pneumonia/gaussian": "conditional Gaussian",
               "pneumonia/diagonal_gaussian": "diagonal Gaussian", "pneumonia/histogram": "histogram"}, "samplers",
              ("pneumonia/lowrank",)),
        (Panel("bits per dimension, chest X-rays", "{}", better="low"),), IMAGES, ("samplers",),
    ),
    Question(
        "multirex",
        _rows({f"{group}/threshold_{threshold}/budget_500": f"{words}, threshold {threshold}"
               for threshold in ("0", "0.9")
               for group, words in (("held_out", "held out"), ("development", "development"))}, "multirex",
              ("held_out/threshold_0/budget_500", "held_out/threshold_0.9/budget_500")),
        (Panel("disjoint explanations, mean", "{}/explanations"),
         Panel("two or more, share of photographs", "{}/two_or_more", 0.96, range=SHARE),
         Panel("evaluations, median", "{}/evaluations", 511, "low", (0, 560)),
         Panel("certified at 16 px or finer", "{}/certified_at_16_pixels", range=SHARE)),
        "Points: over photographs, bars: 95 % bootstrap intervals. Dashed: what is wanted.", ("multirex",),
    ),
    Question(
        "multirex_adaptive",
        tuple(Row(f"EfficientNet-Lite{size}", "multirex_adaptive", f"lite{size}/threshold_0", ours=True)
              for size in (0, 1)),
        (Panel("two found, of those where two exist", "{}/found_where_two_exist", 0.96, range=SHARE),
         Panel("two or more by 500 evaluations, of all", "{}/two_or_more_at_first", range=SHARE),
         Panel("two or more in the end, of all", "{}/two_or_more", range=SHARE),
         Panel("evaluations, median", "{}/evaluations", 511, "low", (0, 560))),
        "Points: over photographs, bars: 95 % intervals. Dashed: what is wanted.", ("multirex",),
    ),
    Question(
        "shearletx",
        (*(Row(f"{words}, 60 steps", FULL, name, ours=name == "shearletx") for name, words in MASK_METHODS.items()),
         *(Row(f"{words}, 300 steps", LONG, name, ours=name == "shearletx") for name, words in MASK_METHODS.items()
           if name != "pixelmask_published")),
        (Panel("keeps 0.9, share", "{}/kept_at_least", 0.9, range=SHARE),
         Panel("half by a second network, share", "{}/second_network_half", range=SHARE),
         Panel("CP-l1, capped", "{}/cp_l1_capped"),
         Panel("CP-Entropy, capped", "{}/cp_entropy_capped"),
         Panel("invented edges (gradient)", "{}/hallucination_gradient", better="low")),
        "Medians over 20 photographs with 95 % bootstrap intervals; shares with Wilson's. Dashed: what is wanted.",
        ("shearletx",),
    ),
    Question(
        "shearletx_steps",
        tuple(Row(f"{steps} steps", "shearletx_steps_gpu", f"steps/{steps}", ours=True) for steps in (25, 50, 100)),
        (Panel("half by a second network, share", "{}/second_network_half", range=SHARE),
         Panel("insertion − deletion", "{}/faithfulness"),
         Panel("CP-l1, capped", "{}/cp_l1_capped"),
         Panel("invented edges (gradient)", "{}/hallucination_gradient", better="low")),
        "Medians over 20 photographs with 95 % bootstrap intervals; shares with Wilson's.", ("shearletx",),
    ),
    Question(
        "shearletx_cost",
        tuple(Row(f"{words}, {samples} samples", "shearletx_cost", f"cost/{name}_{samples}", ours=name == "shearletx")
              for samples in (4, 16)
              for name, words in (("shearletx", "ours"), ("shearletx_published", "published settings"))),
        (Panel("seconds of a step", "{}_seconds_per_step", better="low"),
         Panel("peak memory of the process, GB", "{}_peak_gigabytes", better="low"),
         Panel("state of a search, MB", "{}_state_megabytes", 48, "low", (0, 110))),
        "256 x 256, one image, one thread of a CPU; no intervals were measured. Dashed: what is wanted at most.",
        ("shearletx",), ("shearletx_cost", "shearletx_transform"),
    ),
    Question(
        "causal_scores",
        (*_masks(MASKS, "caes_lesions", "mass", "cyst"),
         Row("planted marker: its box", "caes_shortcut", "marker", ours=True),
         Row("planted marker: the lesion", "caes_shortcut", "lesion")),
        SCORES, IMAGES, ("causal_scores",),
    ),
    Question(
        "causal_scores_xrays", _masks(XRAY_MASKS, "caes_pneumonia", "pneumonia", "normal"), SCORES, IMAGES,
        ("causal_scores",),
    ),
    Question(
        "causation_coefficient",
        _rows({**{f"network_{n}": f"network {n}" for n in range(5)}, "ensemble": "ensemble", "mean": "mean"},
              "caes_pairs", ("ensemble",)),
        (Panel("held-out synthetic pairs", "synthetic/{}", 0.5, range=(0.35, 1)),
         Panel("Tübingen pairs", "tuebingen/{}", 0.5, range=(0.35, 1))),
        "Share of pairs whose direction is told; bars: binomial 95 % intervals (mean: range over networks). "
        "Dashed: chance.",
        ("causation_coefficient",),
    ),
)  # fmt: skip
