"""What a comparison of generators leaves in its folder: one outcome for each image and arm, and a list of both.

Below ``explanations/generators`` of the run, or another ``generators.folder``::

    generators.json           the list (below); written before the first image is explained
    images/FILE.png           the originals, 8 bits, at their own size; FILE is ``cae.files.file_name(id)``
    masks/FILE.png            where the class is known to show, white; of images of which that is known
    arms/ARM/FILE.json        the figures of one image; written last, so that an outcome with it is complete
    arms/ARM/FILE.png         its counterfactual; where none was found, the arm's nearest attempt
    arms/ARM/FILE-end.png     the end of the arm's path, well beyond the boundary; of arms with a path
    arms/ARM/FILE-evidence.png  where the change is, as for our own counterfactuals: a map whose largest value is white
    arms/ARM/FILE.safetensors   what the figures of whole sets are computed from (features)
    models/ARM/               what a trained arm has learnt, with its checkpoints and logs
    table.csv, table.json, table.md, rows.csv, generators.png    figures over all images, and the picture to look at

``generators.json``::

    {"format": "generators-1", "classes": [NAME, …], "margin": 0.05, "baseline": "ours",
     "images": [{"id": ID, "file": FILE, "label": NAME or null, "source": NAME, "target": NAME, "mask": true}, …],
     "arms": [{"name": ARM, "folder": FOLDER below arms, "words": TEXT, "control": false, "has_path": true,
               "training_seconds": 12.3 or null}, …]}

``FILE.json`` holds ``probabilities`` and ``oracle_probabilities`` of the counterfactual, ``end_probabilities`` and
``end_oracle_probabilities`` of the end (each a list over the classes; null without an oracle or a path), ``found``
(true or false) and ``values``: numbers by the names of ``cae.generators.measures.WORDS``, null where undefined.
"""
