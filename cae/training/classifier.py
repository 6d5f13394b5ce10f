"""Training of the program's own classifiers: the one to be explained, and the oracle that checks edits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader

from cae.classifiers.finetuning import StartingNetwork, starting_network
from cae.classifiers.networks import OWN_NETWORKS
from cae.classifiers.saved import is_trained_here, save_classifier
from cae.classifiers.target import TargetClassifier
from cae.config import ClassifierConfig, Config, OracleConfig
from cae.data.types import ImageSet
from cae.devices import device_for, device_of
from cae.errors import UserError
from cae.files import check_finite, read_checkpoint, update_json
from cae.metrics.agreement import accuracy, balanced_accuracy, recalls
from cae.training.cae import logits_of
from cae.training.callbacks import MovableCheckpoint, Patience
from cae.training.class_balance import BalancedOrder, WithLabels
from cae.training.classifier_module import ClassifierModule, calibrate
from cae.training.linear_head import FittedNetwork, train_head
from cae.training.oracle_fallback import better_oracle
from cae.training.trainer import build_trainer, check_same_options, checkpoint_to_continue, close_loggers

if TYPE_CHECKING:
    from cae.data import CAEDataModule

LAST, BEST = "last", "best"
FORMER_OPTIONS = {"verdicts": "learn_predictions"}  # of checkpoints before version 0.2
MAX_STEPS = 2000  # of a training whose epochs are not given, or MIN_EPOCHS where these are more
MIN_EPOCHS = 8
CYCLE = 500  # steps in which the learning rate rises and falls where there is time for several
FURTHER_STEPS = 300  # instead of MAX_STEPS where a trained network is trained further
FURTHER_RATE = 0.25  # of the learning rate, likewise
ROUND_STEPS = 20  # between two validations at least
GOOD_ENOUGH = 0.04  # of what a validation is chosen by, where a guess is 2: some 99 % right, and as sure of it
SURROGATES = ("resnet", "plain")  # architectures of a surrogate: the first that the oracle is not of
SURROGATE_SEED = 1000  # that its seed is larger by than the oracle's
MIN_ROUNDS = 3  # without a better validation, before a training ends


def train_classifier(config: Config, data: CAEDataModule, folder: str | Path) -> dict[str, float]:
    """Train the classifier to be explained and write it into the run folder.

    Writes ``classifier.safetensors``, ``classifier.json``, ``classifier_checkpoints/``, ``classifier_logs/`` and the
    metrics ``classifier/test_accuracy``, ``classifier/test_balanced_accuracy`` and ``classifier/recall/<class>`` (each
    in [0, 1]) and the ``classifier/temperature`` by which its logits were divided into ``metrics.json``.

    Raises:
        UserError: if the options name no network of our own, or the folder already holds a classifier.
    """
    options = config.classifier
    if not is_trained_here(options):
        raise UserError(
            f"There is nothing to train: `classifier.model={options.model}`, `classifier.weights={options.weights}`. "
            f"Training is for the program's own networks ({', '.join(OWN_NETWORKS)}); a classifier of yours is used as "
            "it is, unless `classifier.finetune=true` trains it further on your images."
        )
    data.setup("fit")
    _check_channels(options.channels, data.image_shape[0])
    return _train_and_save(
        "classifier",
        config,
        data,
        Path(folder),
        options,
        config.seed,
        input_size=options.input_size,
        mean=[float(value) for value in options.mean],
        std=[float(value) for value in options.std],
    )


def train_oracle(
    config: Config, data: CAEDataModule, classifier: TargetClassifier, folder: str | Path
) -> dict[str, float]:
    """Train the second classifier, on the target's predictions or on the labels, and write it into the run folder.

    Writes ``oracle.safetensors``, ``oracle.json``, ``oracle_checkpoints/``, ``oracle_logs/`` and the metrics of a
    classifier (against the labels), ``oracle/agreement`` and ``oracle/balanced_agreement`` (with the target's
    predictions), on the test split, and ``oracle/validation_agreement``, each in [0, 1], into ``metrics.json``.
    Learning rate, augmentation and patience are those of the classifier.

    Raises:
        UserError: if the folder already holds an oracle.
    """
    return _train_imitator("oracle", config, data, classifier, Path(folder), config.oracle)


def train_surrogate(
    config: Config, data: CAEDataModule, classifier: TargetClassifier, folder: str | Path
) -> dict[str, float]:
    """Train a network on the target's predictions that swaps have to convince beside it, and write it like an oracle.

    Its architecture is not the oracle's, whose judgement is to be independent.
    """
    oracle = config.oracle
    model = next(name for name in SURROGATES if name != oracle.model)
    options = OracleConfig(
        model=model, width=oracle.width, epochs=oracle.epochs, seed=oracle.seed + SURROGATE_SEED, fallback=False
    )
    return _train_imitator("surrogate", config, data, classifier, Path(folder), options)


def _train_imitator(
    name: str,
    config: Config,
    data: CAEDataModule,
    classifier: TargetClassifier,
    folder: Path,
    options: OracleConfig,
) -> dict[str, float]:
    """Train what learns the classifier's predictions, or the labels."""
    data.setup("fit")
    before, labels = device_of(classifier), None
    if options.labels == "predictions":
        classifier.to(device_for(config.trainer.accelerator, config.trainer.devices))
        labels = [_predictions(classifier, data, split) for split in ("train", "val")]
    metrics = _train_and_save(name, config, data, folder, options, options.seed, labels, classifier)
    classifier.to(before)
    return metrics


def _predictions(classifier: TargetClassifier, data: CAEDataModule, split: str) -> Tensor:
    """The classes ``(N,)`` that a classifier predicts for the images of a split, which are those that it is given."""
    return logits_of(classifier, data.dataset(split), data.config.batch_size)[0].argmax(1)


def _train_and_save(
    name: str,
    config: Config,
    data: CAEDataModule,
    folder: Path,
    options: ClassifierConfig | OracleConfig,
    seed: int,
    labels: Sequence[Tensor] | None = None,
    teacher: TargetClassifier | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Train a network as ``options`` say and write it with its metrics; ``settings`` go to ``ClassifierModule``.

    ``labels`` of the training and the validation split, a teacher's predictions, take the place of those of the data.
    """
    _check_splits(data)
    pl.seed_everything(seed, workers=True, verbose=False)
    start, learnt = _start(options, len(data.classes)), labels is not None
    sets = [data.train, data.val] if labels is None else _relabelled(data, labels)
    if start is not None and options.freeze:
        checkpoint_to_continue(config, folder, name)  # there is none, but a result is not overwritten unasked
        found = train_head(name, config, data, folder, sets, start, seed, settings.get("input_size"), teacher)
    else:
        settings |= {"teacher": teacher, "learn_predictions": learnt}
        found = _train(name, config, data, folder, options, seed, sets, start, **settings)
    if isinstance(options, OracleConfig) and options.fallback and learnt and teacher is not None:
        found, options = better_oracle(found, config, data, folder, teacher, sets)
    calibrate(found.network, found.temperature)
    metrics = {f"{name}/temperature": found.temperature} | test_metrics(found.matrices, name, data.classes)
    if found.trainer.is_global_zero:  # the weights come last, since they mark the stage as finished
        check_finite(folder / f"{name}.safetensors", found.network.state_dict())
        update_json(folder / "metrics.json", metrics)
        fingerprint = teacher.fingerprint() if teacher is not None and learnt else None
        save_classifier(
            folder, found.network, options, data.classes, data.image_shape, metrics, name, found.matrices, fingerprint,
            data.fingerprint, found.normalisation, found.input_size,
        )  # fmt: skip
    found.trainer.strategy.barrier(f"{name} saved")
    return metrics


def _train(
    name: str,
    config: Config,
    data: CAEDataModule,
    folder: Path,
    options: ClassifierConfig | OracleConfig,
    seed: int,
    sets: Sequence[ImageSet],
    start: StartingNetwork | None,
    **settings: Any,
) -> FittedNetwork:
    """Train all of a network, a new one or from ``start`` on."""
    shared = ("patience", "weight_decay", "noise", "shift", "rotation", "scale", "grey_levels")
    rate = config.classifier.learning_rate
    if start is not None:
        rate *= FURTHER_RATE
        settings |= {"start": start.network, "mean": list(start.mean), "std": list(start.std)}
    module = ClassifierModule(
        list(data.classes),
        list(data.image_shape),
        model=options.model,
        width=options.width,
        epochs=options.epochs,
        seed=seed,
        learning_rate=rate,
        **{option: getattr(config.classifier, option) for option in shared},
        **settings,
    )
    trainer, matrices = _fit(module, config, data, folder, name, sets)
    normalisation = (module.hparams["mean"], module.hparams["std"])
    return FittedNetwork(module.network, float(module.temperature), matrices, normalisation, trainer)


def _start(options: ClassifierConfig | OracleConfig, classes: int) -> StartingNetwork | None:
    """The trained network that the training goes on from, or None for one that begins from random weights."""
    if options.model in OWN_NETWORKS:
        return None
    if isinstance(options, OracleConfig):
        options = ClassifierConfig(model=options.model, finetune=True)
    return starting_network(options, classes)


def _check_channels(wanted: int | None, found: int) -> None:
    if wanted not in (None, found):
        raise UserError(
            f"`classifier.channels={wanted}`, but the images have {found}: the program's own networks are trained on "
            "the images as they are; remove the option."
        )


def rounds(images: int, batch_size: int, epochs: int | None, most: int = MAX_STEPS) -> tuple[int, int]:
    """How long a training is: rounds at most, and the steps of a round, after each of which it is validated.

    A round is a pass over the training split, or several of a small one. Without ``epochs`` the training takes up to
    ``most`` steps, or ``MIN_EPOCHS`` of many images.

    >>> rounds(4000, 64, None), rounds(190, 64, None), rounds(4000, 64, 3)
    ((33, 62), (100, 20), (3, 62))
    """
    steps = max(1, images // batch_size)
    most = max(most, MIN_EPOCHS * steps) if epochs is None else epochs * steps
    length = min(most, max(ROUND_STEPS, steps))
    return math.ceil(most / length), length


def _fit(
    module: ClassifierModule,
    config: Config,
    data: CAEDataModule,
    folder: Path,
    stage: str,
    sets: Sequence[ImageSet],
) -> tuple[pl.Trainer, dict[str, Tensor]]:
    """Train or continue, load the weights of the best epoch, and count on the test split: the matrices of that.

    Every process of a distributed training validates and tests on whole splits: dealt out, some images would be
    counted twice.
    """
    train, val = sets
    last = checkpoint_to_continue(config, folder, stage)
    patience = Patience(
        "val/selection", patience=MIN_ROUNDS, mode="min", stopping_threshold=GOOD_ENOUGH, check_on_train_epoch_end=True
    )
    trainer = build_trainer(
        config,
        folder,
        stage,
        callbacks=[patience, *_checkpoints(folder / f"{stage}_checkpoints")],
        resume=last is not None,
        use_distributed_sampler=False,
    )
    # only now is it known how many processes share a step
    together = min(len(train), data.config.batch_size * trainer.world_size)
    most = MAX_STEPS if module.hparams["model"] in OWN_NETWORKS else FURTHER_STEPS
    trainer.fit_loop.max_epochs, steps = rounds(len(train), together, module.hparams["epochs"], most)
    # a training that is only bounded, by a number of steps, has time for several cycles
    bounded = module.hparams["epochs"] is None and trainer.fit_loop.max_epochs * steps <= most + steps
    module.cycle = CYCLE if bounded and most == MAX_STEPS else None
    patience.patience = max(MIN_ROUNDS, math.ceil(module.hparams["patience"] / steps))
    batch_size, seed = max(1, together // trainer.world_size), module.hparams["seed"]
    module.order = BalancedOrder(train.labels, steps * together, seed, trainer.global_rank, trainer.world_size)
    if last is not None:
        checkpoint = read_checkpoint(last, to_continue=True)
        before = _present_options(checkpoint.get("hyper_parameters", {}))
        check_same_options(before, dict(module.hparams), last, stage)
        module.order.set_epoch(checkpoint["epoch"] + 1)  # workers begin to read before the epoch begins
    loader = _in_order(data.train_dataloader(), train, module.order, batch_size)
    trainer.fit(module, loader, data.loader(val), ckpt_path=last, weights_only=True)
    best = read_checkpoint(folder / f"{stage}_checkpoints" / f"{BEST}.ckpt")
    module.load_state_dict(best["state_dict"])
    matrices = {}
    if module.has_teacher:
        trainer.test(module, data.loader(data.val), verbose=False)
        matrices["validation_agreement"] = module.agreement.cpu().clone()
    data.setup("test")
    trainer.test(module, data.test_dataloader(), verbose=False)
    matrices["confusion"] = module.confusion.cpu()
    if module.has_teacher:
        matrices["agreement"] = module.agreement.cpu()
    close_loggers(trainer)
    return trainer, matrices


def _relabelled(data: CAEDataModule, labels: Sequence[Tensor]) -> list[ImageSet]:
    """Training and validation split with other labels."""
    return [WithLabels(images, found) for images, found in zip((data.train, data.val), labels, strict=True)]


def _present_options(hyper_parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters of a checkpoint by the names that ``ClassifierModule`` has for them now."""
    return {FORMER_OPTIONS.get(name, name): value for name, value in hyper_parameters.items()}


def _check_splits(data: CAEDataModule) -> None:
    empty = [split for split in ("train", "val", "test") if len(data.dataset(split)) == 0]
    if empty:
        raise UserError(
            f"No image in the split(s) {', '.join(empty)}: a classifier is trained on one, chosen on another and "
            "tested on the third; see `data.val_share` and `data.test_share`."
        )


def _in_order(loader: DataLoader, images: Any, order: BalancedOrder, batch_size: int) -> DataLoader:
    """The same loader over other images, in an order of its own; images that fill no batch are dropped."""
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=order,
        drop_last=len(order) >= batch_size,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        persistent_workers=loader.persistent_workers,
        generator=loader.generator,
    )


def _checkpoints(folder: Path) -> list[pl.Callback]:
    """The best epoch and, after it, the last: so that the last one knows of the best."""
    settings: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    best = MovableCheckpoint(folder, BEST, monitor="val/selection", mode="min", **settings)
    return [best, MovableCheckpoint(folder, LAST, **settings)]


def test_metrics(matrices: Mapping[str, Tensor], name: str, classes: Sequence[str]) -> dict[str, float]:
    """Figures of the test split, each in [0, 1]: accuracy, balanced accuracy, recalls; of an oracle also its agreement.

    Args:
        matrices: ``confusion (K, K)`` by label and prediction; of an oracle also ``agreement (K, K)`` by the prediction
            of the classifier, and ``validation_agreement (K, K)`` of the validation split.
        name: ``classifier`` or ``oracle``.
        classes: names of the K classes; those without images have no recall.
    """
    confusion, agreement = matrices["confusion"], matrices.get("agreement")
    found = {
        f"{name}/test_accuracy": accuracy(confusion),
        f"{name}/test_balanced_accuracy": balanced_accuracy(confusion),
    }
    if agreement is not None:
        found[f"{name}/agreement"] = accuracy(agreement)
        found[f"{name}/balanced_agreement"] = balanced_accuracy(agreement)
    if "validation_agreement" in matrices:
        found[f"{name}/validation_agreement"] = accuracy(matrices["validation_agreement"])
    shares = zip(classes, recalls(confusion).tolist(), strict=True)
    return found | {f"{name}/recall/{cls}": share for cls, share in shares if not math.isnan(share)}
