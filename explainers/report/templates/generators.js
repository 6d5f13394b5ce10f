(() => {
  const folders = report.generators;
  if (!folders.length) return;
  const state = { folder: folders[0], image: null, tiles: [] };
  choices(find("#g-folder"), folders.map((one, place) => [place, one.name]));
  find("#g-folder-label").hidden = folders.length < 2;

  function look(image) {
    const words = `${image.id}: ${image.source} towards ${image.target}`;
    return { sheet: image.sprite, tile: 0, label: words, title: words };
  }

  function pick() {
    if (!fillPicker(find("#g-picker"), state.folder.images, look, show))
      find("#g-cards").replaceChildren(make("p", { class: "note" }, "No image of this folder fits into the file."));
  }

  async function show(image) {
    state.image = image;
    markPicked(find("#g-picker"), image);
    const found = await tiles(image.sprite);
    if (state.image !== image) return;
    state.tiles = found;
    draw();
  }

  const said = (seen) => seen ? [named(seen[0]), ` ${seen[1].toFixed(2)}`] : ["–"];

  /* red is brighter, blue darker, than what the generator itself starts from */
  function change(now, base, largest) {
    const by = (place) => (brightness(now.data, place) - brightness(base.data, place)) / largest;
    const strength = find("#g-strength").value / 100, least = 2.5 / largest;
    return overlaid(now, DIVERGING, (place) => strong(by(place)), (place) => Math.abs(by(place)) < least ? 0 : strength * Math.sqrt(Math.min(1, Math.abs(by(place)))));
  }

  function evidence(now, map) {
    const strength = find("#g-strength").value / 100;
    return overlaid(now, SEQUENTIAL, (place) => brightness(map.data, place) / 255, (place) => strength * Math.min(1, 2 * brightness(map.data, place) / 255));
  }

  function largestChange(now, base) {
    let size = 1;
    for (let place = 0; place < now.data.length / 4; place++) size = Math.max(size, Math.abs(brightness(now.data, place) - brightness(base.data, place)));
    return size;
  }

  function pixelsOf(arm) {
    const at = find("#g-at").value, over = find("#g-over").value, original = state.tiles[0];
    const now = state.tiles[at === "end" && arm.end_tile !== undefined ? arm.end_tile : arm.made_tile];
    const base = arm.base_tile === undefined ? original : state.tiles[arm.base_tile];
    if (over === "change") return change(now, base, largestChange(now, base));
    return over === "evidence" && arm.evidence_tile !== undefined ? evidence(original, state.tiles[arm.evidence_tile]) : now;
  }

  function draw() {
    const at = find("#g-at").value, image = state.image, words = new Map(state.folder.arms.map((arm) => [arm.name, arm]));
    const first = make("canvas", { role: "img", "aria-label": `Image ${image.id}, the original` });
    paint(first, state.tiles[0]);
    const cards = [make("div", {}, make("h3", {}, "original"), make("figure", { class: "tile" }, first, make("figcaption", {}, named(image.id))),
      make("dl", {}, fact("classified as", [named(image.source)]), fact("towards", [named(image.target)])))];
    for (const arm of image.arms) {
      const canvas = make("canvas", { role: "img", class: "g-made", "aria-label": `What ${arm.name} makes of ${image.id}` });
      paint(canvas, pixelsOf(arm));
      const end = at === "end" && arm.end_tile !== undefined, seen = end ? arm.end : arm.made, about = words.get(arm.name);
      cards.push(make("div", { class: about.control ? "control" : "" }, make("h3", {}, named(arm.name)),
        make("figure", { class: "tile" }, canvas, make("figcaption", {}, end ? "end of its path" : arm.found ? "counterfactual" : "not found: its nearest attempt")),
        make("p", { class: "note" }, about.words),
        make("dl", {}, fact("classifier", said(seen.classifier)), fact("oracle", said(seen.oracle)), fact("seconds", [arm.seconds === null ? "–" : number(arm.seconds)]))));
    }
    find("#g-cards").replaceChildren(...cards);
  }
  const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value));

  for (const id of ["#g-at", "#g-over", "#g-strength"]) find(id).addEventListener("input", draw);
  find("#g-folder").addEventListener("change", (event) => { state.folder = folders[event.target.value]; pick(); });
  whenSeen(find("#g-cards"), pick);
})();
