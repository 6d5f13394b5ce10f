"""Which figures the benchmarks keep of a run, their headings, and what is wanted of them.

Headings of counterfactual metrics come from the table of metrics (``cae.tables.metric_table``); goals are kept here.
"""

from __future__ import annotations

from benchmarks._empty import FOLDER
from cae.tables.headings import titles

EMPTY = f"{FOLDER}/"  # before the names of the search towards a class with nothing to show
TITLES = titles()
TOWARDS_HEALTHY = "towards healthy, of images in which a lesion is seen: "
TOWARDS_RUNNER_UP = "towards the runner-up, all images with a lesion: "


def heading(figure: str) -> str:
    """Heading of a counterfactual metric, of either search, with an arrow to where it is better."""
    return TITLES[figure.removeprefix(EMPTY)]


# figure -> heading, and what is wanted
END_TO_END: dict[str, tuple[str, str]] = {
    "classifier/test_accuracy": ("classifier: accuracy on test images", ""),
    "oracle/agreement": ("oracle: agreement with the classifier", ""),
    "cae/reassignment": ("reassignment, classifier", "≥ 0.95 lesions, ≥ 0.90 others"),
    "cae/reassignment_oracle": ("reassignment, oracle", "≥ 0.90 lesions, ≥ 0.80 others"),
    "cae/reassignment_residual": ("the same for residual swaps, classifier", ""),
    "cae/reassignment_residual_oracle": ("the same for residual swaps, oracle", ""),
    "cae/validation_best": ("swaps of validation images, best checkpoint, the lower of both", ""),
    "cae/validation_last": ("… at the end of the training", "within 0.03 of the best"),
    "cae/training_last": ("… of training images, at its end", "at most 0.10 above"),
    "cae/reconstruction_mae": ("mean absolute reconstruction error", "≤ 0.03 lesions"),
    "cae/reconstruction_consistency": ("reconstructions that keep the class", "≥ 0.97 lesions"),
    "cae/participation_ratio": ("participation ratio of the class codes", "≥ 1.5 lesions"),
    "cae/participation_ratio_edits": ("participation ratio of the edits", ""),
    "cae/class_probe": ("class read from the class code", ""),
    "cae/individual_probe": ("class read from the individual code (leakage)", ""),
    **{
        figure: (heading(figure), wanted)
        for figure, wanted in {
            "counterfactual/found": "≥ 0.97 lesions",
            "counterfactual/validity_oracle": "",
            "counterfactual/validity_oracle_end": "",
            "counterfactual/target_over_source_p95": "≤ 0.02 lesions",
            "counterfactual/overshoot_p95": "",
            "counterfactual/end_cout": "≥ 0.6 lesions",
            "counterfactual/cout": "",
        }.items()
    },
    **{
        f"{EMPTY}{figure}": (TOWARDS_HEALTHY + heading(figure), wanted)
        for figure, wanted in {
            "localisation/end_dice": "≥ 0.75",
            "localisation/end_dice_best": "≥ 0.85",
            "localisation/end_pointing": "≥ 0.97",
            "localisation/outside_median": "≤ 0.02",
        }.items()
    },
    **{
        figure: (TOWARDS_RUNNER_UP + heading(figure), "")
        for figure in ("localisation/end_dice", "localisation/end_pointing")
    },
    "seconds/cae_training": ("seconds of CAE training", "≤ 360 lesions, ≤ 900 others"),
}
ABLATION: dict[str, str] = {
    "cae/reassignment": "reassignment, classifier",
    "cae/reassignment_oracle": "… oracle",
    "counterfactual/found": heading("counterfactual/found"),
    "counterfactual/validity_oracle_end": heading("counterfactual/validity_oracle_end"),
    **{
        f"{EMPTY}{figure}": heading(figure)
        for figure in (
            "localisation/end_dice",
            "localisation/end_dice_best",
            "localisation/end_pointing",
            "localisation/outside_median",
        )
    },
    "localisation/end_dice": f"runner-up: {heading('localisation/end_dice')}",
    "counterfactual/end_cout": heading("counterfactual/end_cout"),
    "cae/participation_ratio": "participation ratio",
    "cae/class_probe": "class code tells the class",
    "cae/individual_probe": "individual code tells it",
    "seconds/cae_training": "seconds",
}
# kept of every run beside what the tables show
KEPT = (f"{EMPTY}localisation/end_images",)
KEPT_OF_ABLATION = (
    *KEPT,
    "counterfactual/end_l1",
    "localisation/end_dice_best",
    "localisation/end_pointing",
    f"{EMPTY}counterfactual/found",
    "cae/reconstruction_mae",
)
