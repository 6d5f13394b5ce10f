"""A run folder made by hand, with something of everything that a report shows, and names that mean harm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from made_counterfactuals import counterfactual

from cae.canvas import save_png
from cae.classifiers import PlainConvNet, save_classifier
from cae.config import Config, OracleConfig
from cae.config.command_line import load_config, save_config
from cae.counterfactuals.export import picture_of, save_images
from cae.counterfactuals.result import Counterfactual
from cae.files import file_name, write_json
from cae.manifold.class_manifold import ClassManifold
from cae.manifold.code_lines import STEPS, CodeLines
from cae.manifold.image_codes import save_thumbnails
from cae.tables.index import Files, Index, index_row
from cae.tables.scored_result import ScoredResult
from cae.tables.summary import summarise
from explainers.commands.tables import write_tables
from explainers.explanation import Explanation

CLASSES = ("healthy", "mass", "cyst")
HOSTILE = (
    "<script>document.title='pwned'</script>\"'",
    "\x1b[31m\u202eשלום 🧠</script><!--",
    "<img src=x onerror=document.title='pwned'>" + "w" * 300,
)
SIDE = 16


def report_run(runs: Path, classes: tuple[str, ...] = CLASSES, name: str = "made", count: int = 6) -> Config:
    """Write the folder of a run and give its configuration."""
    config = load_config(overrides=["data.image_size=16", "manifold.embeddings=[pca]"])
    config.runs, config.name = str(runs), name  # a name that YAML would have to quote
    folder = runs / name
    folder.mkdir(parents=True)
    save_config(config, folder / "config.yaml")
    torch.manual_seed(0)
    recalls = {f"classifier/recall/{known}": 0.9 for known in classes}
    metrics = {
        "classifier/test_accuracy": 0.93,
        "oracle/test_accuracy": 0.9,
        "oracle/agreement": 0.95,
        "cae/reassignment": 0.9,
    }
    metrics |= {f"cae/reassignment/{a}->{b}": 0.9 for a in classes for b in classes}
    save_classifier(folder, PlainConvNet(3, 1, width=4), OracleConfig(width=4), classes, (1, SIDE, SIDE), name="oracle")
    manifold = _manifold(classes)
    manifold.save(folder / "manifold.safetensors")
    rows = _traversals(folder, classes, count)
    write_json(folder / "metrics.json", metrics | recalls | summarise(rows))
    _comparison(folder / "explanations" / "compare", classes)
    _lists(folder / "explanations" / "manifold", manifold, classes)
    _generators(folder / "explanations" / "generators", classes)
    write_json(
        folder / "sanity" / "sanity.json",
        {"shortcut/added_passed": True, "guards/null_passed": False, "guards/passed": False},
    )
    return config


def results(classes: tuple[str, ...], count: int) -> list[Counterfactual]:
    """Paths towards the second class; of those after the first the third is not found, the fourth has no path."""
    statuses = {2: "not_found", 3: "already_target"}
    found = []
    for number in range(count):
        made = counterfactual(SIDE, classes=classes, status=statuses.get(number, "found"))
        codes = torch.linspace(0, 3, len(made.tau))[:, None] * torch.tensor([1.0, 0.5]) + 0.2 * number
        found.append(dataclasses.replace(made, id=f"{classes[0]}/{number:03d}", path_codes=codes))
    return found


def _traversals(folder: Path, classes: tuple[str, ...], count: int) -> list:
    place, made = folder / "explanations" / "traverse", results(classes, count)
    index = Index(place, {result.id: number for number, result in enumerate(made)})
    for number, result in enumerate(made):
        stem = file_name(result.id)
        saved = save_images(result, place / "images", stem)
        files = {f"{kind}_image": path.relative_to(place).as_posix() for kind, path in saved.items()}
        if number != 4:  # the fifth kept its images, but not its path
            result.save(place / "tensors" / f"{stem}.safetensors")
            files["tensors"] = f"tensors/{stem}.safetensors"
        sure = torch.tensor([0.9, 0.1, 0.0])
        ends = sure.flip(0) if number == 5 else torch.tensor([0.1, 0.9, 0.0])
        scored = ScoredResult(
            result, lambda images: torch.ones(len(images), 3) / 3, 0.05, oracle_original=sure,
            oracle_counterfactual=ends if result.found else None, oracle_end=ends if result.found else None,
        )  # fmt: skip
        index.add([index_row(scored, classes[1] if number == 1 else classes[0], number, Files(**files))], {})
    index.save()
    return index.rows


def _manifold(classes: tuple[str, ...]) -> ClassManifold:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 3
    codes = torch.randn(40, 2, generator=generator) + labels[:, None] * 2
    probabilities = torch.eye(3)[labels] * 0.8 + 0.1
    ids = tuple(f"{classes[k]}/train{number}" for number, k in enumerate(labels.tolist()))
    return ClassManifold(codes, probabilities / probabilities.sum(1, keepdim=True), labels, ids, classes)


def _lists(place: Path, manifold: ClassManifold, classes: tuple[str, ...]) -> None:
    save_thumbnails(torch.rand(40, 1, SIDE, SIDE), manifold.ids, place / "thumbnails.safetensors")
    _lines(manifold).save(place / "lines.safetensors")
    header = "id,split,kind,score,label,prediction,probability,neighbours\n"
    cells = [manifold.ids[0], "train", "label", "1.0", classes[0], classes[1], "0.9", classes[1]]
    line = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    (place / "label_issues.csv").write_text(header + line + "\n", encoding="utf-8")


def _lines(manifold: ClassManifold) -> CodeLines:
    """Lines between the first three training images; each brightens from 0 to a level of its own."""
    pairs = torch.tensor([(a, b) for a in range(3) for b in range(3) if a != b])
    levels = torch.linspace(0, 1, STEPS) * (100 + 20 * torch.arange(6.0))[:, None]
    images = levels.byte()[:, :, None, None, None].expand(6, STEPS, 1, SIDE, SIDE)
    start, end = torch.eye(3)[pairs].unbind(1)
    return CodeLines(
        manifold.ids[:3], pairs, images, torch.lerp(start[:, None], end[:, None], torch.linspace(0, 1, STEPS)[:, None])
    )


def _comparison(place: Path, classes: tuple[str, ...]) -> None:
    rows = {}
    for number in range(2):
        id = f"{classes[0]}/{number:03d}"
        stem, generator = file_name(id), torch.Generator().manual_seed(number)
        image = torch.rand(1, SIDE, SIDE, generator=generator)
        save_png(picture_of(image), place / "images" / f"{stem}.png", id=json.dumps(id))
        for method, extras in _extras(image).items():
            values = torch.randn(1, 1, SIDE, SIDE, generator=generator)
            probabilities = torch.tensor([[0.7, 0.2, 0.1]])
            Explanation(
                values, torch.tensor([0]), probabilities, method, {}, torch.tensor([12]), 0.5, ({**extras},)
            ).save(place / "maps" / method / f"{stem}.safetensors")  # fmt: skip
        values = {
            method: {"deletion_auc_excess": 0.1 * rank + 0.01 * number, "evaluations": 12.0, "seconds": 0.5}
            for rank, method in enumerate([*_extras(image), "random order"])
        }
        del values["random order"]["seconds"], values["random order"]["evaluations"]
        write_json(place / "measures" / f"{stem}.json", {"id": id, "target": 0, "settings": {}, "values": values})
        rows[id] = values
    write_tables(place, rows, {}, dict.fromkeys(_extras(image), True))


def _generators(place: Path, classes: tuple[str, ...]) -> None:
    """Two images by three generators: one with a path and a base of its own, one without, and a control that failed."""
    arms = [
        {"name": "ours", "folder": "ours", "words": "the run's embedding", "control": False, "has_path": True},
        {"name": "gradient", "folder": "gradient", "words": "descent in pixels", "control": False, "has_path": False},
        {"name": "shuffled", "folder": "shuffled", "words": "control: shuffled", "control": True, "has_path": False},
    ]
    images = []
    for number in range(2):
        id = f"{classes[0]}/{number:03d}"
        images.append({"id": id, "file": file_name(id), "label": None, "source": classes[0], "target": classes[1]})
        save_png(picture_of(torch.full((1, SIDE, SIDE), 0.4)), place / "images" / f"{file_name(id)}.png")
        for rank, arm in enumerate(arms):
            _outcome(place / "arms" / arm["folder"], file_name(id), 0.8 - 0.2 * rank, arm)
    listed = {"format": "generators-1", "classes": list(classes), "margin": 0.05, "baseline": "ours"}
    write_json(place / "generators.json", {**listed, "images": images, "arms": arms})
    figures = [
        {"metric": "found", "arm": arm["name"], "mean": 1.0 - 0.5 * rank, "low": 0.4, "high": 0.6, "images": 2}
        for rank, arm in enumerate(arms)
    ]
    figures += [
        {"metric": name, "arm": "ours", "mean": 2.5, "low": None, "high": None, "images": 2}
        for name in ("seconds", "sfid", "mask_share")
    ]
    write_json(place / "table.json", figures)


def _outcome(folder: Path, stem: str, level: float, arm: dict) -> None:
    grey = torch.full((1, SIDE, SIDE), 0.4)
    changed = grey.clone()
    changed[:, :4, :4] = level
    save_png(picture_of(changed), folder / f"{stem}.png")
    save_png(picture_of((changed - grey).abs()), folder / f"{stem}-evidence.png")
    if arm["has_path"]:
        save_png(picture_of(changed + 0.1), folder / f"{stem}-end.png")
        save_png(picture_of(grey - 0.1), folder / f"{stem}-base.png")
    ends, found = [0.05, 0.95, 0.0] if arm["has_path"] else None, not arm["control"]
    seen = {"probabilities": [0.4, 0.6, 0.0], "oracle_probabilities": [0.7, 0.3, 0.0]}
    seen |= {"end_probabilities": ends, "end_oracle_probabilities": ends}
    write_json(folder / f"{stem}.json", {**seen, "found": found, "values": {"found": found, "seconds": 0.2}})


def _extras(image: torch.Tensor) -> dict[str, dict]:
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, :4, :4], masks[1, 8:, 8:] = True, True
    several = {"masks": masks, "confidences": [0.9, 0.8], "complement_confidences": [0.1, None]}
    return {"pmi": {}, "multirex": several, "shearletx": {"explanation": image}}
