// Photos counted one after the other, shown with their boxes, mended by hand and saved. Boxes are [x1, y1, x2, y2] in
// pixels of the photo. Nothing is sent but a photo to the detector on this computer.

const $ = (id) => document.getElementById(id);
const style = getComputedStyle(document.documentElement);
const SMALLEST = 4; // pixels of the screen: what is dragged for less is a click
const LINE = 2;
const LEAST_HEIGHT = 0.6; // of the window's, for a photo that may be scrolled to

const model = await (await fetch("model")).json();
const photos = []; // {file, state, error, width, height, boxes, scores, interval, warnings, removed, added, button}
let shown = null;
let bitmap = null; // of the photo shown; null where the browser cannot show it
let dragged = null; // [x1, y1, x2, y2] while a box is drawn
let threshold = model.threshold;
let counting = false;

// what there is

const found = (photo) => photo.scores.flatMap((score, i) => (score >= threshold ? [i] : []));
const kept = (photo) => found(photo).filter((i) => !photo.removed.has(i));
const count = (photo) => kept(photo).length + photo.added.length;
const done = () => photos.filter((photo) => photo.state === "done");
const isMended = (photo) => photo.added.length > 0 || found(photo).length > kept(photo).length;
const isOwn = () => threshold === model.threshold;
const metres = () => $("metres").valueAsNumber || null;
const area = (photo) => metres() && (metres() ** 2 * photo.height) / photo.width;
const heads = (number) => `${number.toLocaleString("en")} ${number === 1 ? "head" : "heads"}`;

function describe(photo) {
  if (photo.state !== "done") return { waiting: "waits", busy: "is counted", failed: photo.error }[photo.state];
  const parts = [];
  if (isMended(photo)) parts.push("mended");
  else if (photo.interval && isOwn()) parts.push(`likely ${photo.interval.map(Math.round).join(" to ")}`);
  if (area(photo)) parts.push(`${(count(photo) / area(photo)).toFixed(1)} a m²`);
  return [...parts, ...photo.warnings].join(" · ");
}

// counting

function add(files) {
  const known = new Set(photos.map(({ file }) => `${file.name}/${file.size}/${file.lastModified}`));
  for (const file of files) {
    const key = `${file.name}/${file.size}/${file.lastModified}`;
    if (known.has(key)) continue;
    known.add(key);
    const photo = { file, state: "waiting", error: "", removed: new Set(), added: [] };
    photos.push(Object.assign(photo, { button: line(photo) }));
  }
  if (shown === null && photos.length) show(0);
  list();
  countAll();
}

async function countAll() {
  if (counting) return;
  counting = true;
  for (let photo; (photo = photos.find(({ state }) => state === "waiting")); ) {
    photo.state = "busy";
    list();
    try {
      const answer = await fetch("detect", { method: "POST", body: photo.file });
      const said = await answer.json();
      if (answer.ok) Object.assign(photo, said, { state: "done" });
      else Object.assign(photo, { state: "failed", error: said.error });
    } catch {
      Object.assign(photo, { state: "failed", error: "could not be counted: the program has ended; start it again" });
    }
    list();
    if (photo === photos[shown]) draw();
  }
  counting = false;
}

// showing

// A line of the list; its parts are filled by `list`, so that it keeps the keyboard's focus.
function line(photo) {
  const button = document.createElement("button");
  for (const [kind, tag] of [["name", "span"], ["number", "span"], ["more", "small"]]) {
    const part = document.createElement(tag);
    part.className = kind;
    button.append(part);
  }
  button.addEventListener("click", () => show(photos.indexOf(photo)));
  const item = document.createElement("li");
  item.append(button);
  $("photos").append(item);
  return button;
}

function list() {
  photos.forEach((photo, i) => {
    const [name, number, more] = photo.button.children;
    photo.button.setAttribute("aria-current", i === shown);
    name.textContent = photo.file.name;
    number.textContent = photo.state === "done" ? count(photo).toLocaleString("en") : "";
    more.textContent = describe(photo);
  });
  const counted = done();
  const sum = counted.reduce((total, photo) => total + count(photo), 0);
  const of = counted.length === photos.length ? "" : ` of ${photos.length}`;
  $("total").textContent = photos.length
    ? `${heads(sum)} in ${counted.length}${of} ${photos.length === 1 ? "photo" : "photos"}, by ${model.name}`
    : "";
  for (const id of ["counts", "heads", "labels"]) $(id).disabled = !counted.length;
}

async function show(i) {
  shown = i;
  bitmap = null;
  list();
  const opened = await createImageBitmap(photos[i].file).catch(() => null);
  if (shown !== i) return;
  bitmap = opened;
  draw();
}

function draw() {
  const photo = photos[shown];
  const isDone = photo?.state === "done";
  $("tools").hidden = $("help").hidden = !isDone;
  $("canvas").hidden = !bitmap;
  $("score").textContent = threshold.toFixed(2);
  $("own").disabled = isOwn();
  if (!photo) return;
  const hint = bitmap ? "" : "This browser cannot show the photo; save it as JPEG to see its boxes.";
  $("said").textContent = [
    photo.file.name,
    isDone ? heads(count(photo)) : "",
    describe(photo),
    hint,
  ].filter(Boolean).join(" · ");
  $("picture").disabled = !bitmap;
  if (!bitmap) return;
  const canvas = $("canvas");
  const stage = $("stage");
  const below = innerHeight - stage.offsetTop - $("help").offsetHeight;
  const height = Math.max(below, LEAST_HEIGHT * innerHeight);
  const scale = $("whole").checked
    ? Math.min(1, stage.clientWidth / bitmap.width, height / bitmap.height)
    : 1;
  const dots = $("whole").checked ? Math.min(devicePixelRatio, 1 / scale) : 1;
  canvas.style.width = `${bitmap.width * scale}px`;
  canvas.style.height = `${bitmap.height * scale}px`;
  canvas.width = Math.round(bitmap.width * scale * dots);
  canvas.height = Math.round(bitmap.height * scale * dots);
  canvas.setAttribute("aria-label", $("said").textContent);
  paint(canvas.getContext("2d"), photo, scale * dots, LINE * dots);
}

function paint(context, photo, scale, line) {
  context.drawImage(bitmap, 0, 0, context.canvas.width, context.canvas.height);
  if (photo.state !== "done" || !$("boxes").checked) return;
  const stroke = (box, colour, dash = []) => {
    const [x1, y1, x2, y2] = box.map((side) => side * scale);
    context.setLineDash(dash);
    for (const [width, paper] of [[2 * line, "#000a"], [line, colour]]) {
      context.lineWidth = width;
      context.strokeStyle = paper;
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  };
  const colour = (name) => style.getPropertyValue(`--${name}`);
  for (const i of found(photo)) {
    const isRemoved = photo.removed.has(i);
    stroke(photo.boxes[i], colour(isRemoved ? "removed" : "found"), isRemoved ? [3 * line, 3 * line] : []);
  }
  for (const box of photo.added) stroke(box, colour("added"));
  if (dragged) stroke(sorted(dragged), colour("added"), [3 * line, 3 * line]);
}

// mending

const sorted = ([x1, y1, x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
const sides = ([x1, y1, x2, y2]) => [x2 - x1, y2 - y1];
const holds = ([x1, y1, x2, y2], [x, y]) => x1 <= x && x < x2 && y1 <= y && y < y2;

function inPhoto(event) {
  const place = $("canvas").getBoundingClientRect();
  const at = [(event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height];
  const photo = photos[shown];
  return [photo.width, photo.height].map((side, i) => Math.min(1, Math.max(0, at[i])) * side);
}

// Of the boxes at a point the smallest, as a larger one can be clicked elsewhere.
function toggleAt(photo, point) {
  const boxes = [
    ...found(photo).map((i) => ({ box: photo.boxes[i], i })),
    ...photo.added.map((box) => ({ box, i: null })),
  ].filter(({ box }) => holds(box, point));
  if (!boxes.length) return;
  const surface = ({ box }) => sides(box).reduce((width, height) => width * height);
  const { box, i } = boxes.reduce((least, other) => (surface(other) < surface(least) ? other : least));
  if (i === null) photo.added.splice(photo.added.indexOf(box), 1);
  else if (!photo.removed.delete(i)) photo.removed.add(i);
}

$("canvas").addEventListener("pointerdown", (event) => {
  if (event.button || photos[shown].state !== "done") return;
  $("canvas").setPointerCapture(event.pointerId);
  dragged = [...inPhoto(event), ...inPhoto(event)];
});
$("canvas").addEventListener("pointermove", (event) => {
  if (!dragged) return;
  dragged.splice(2, 2, ...inPhoto(event));
  draw();
});
$("canvas").addEventListener("pointerup", () => {
  if (!dragged) return;
  const photo = photos[shown];
  const box = sorted(dragged);
  const screen = $("canvas").getBoundingClientRect().width / photo.width;
  dragged = null;
  if (sides(box).every((side) => side * screen >= SMALLEST)) photo.added.push(box.map((side) => +side.toFixed(2)));
  else if (sides(box).every((side) => side * screen < SMALLEST)) toggleAt(photo, box);
  list();
  draw();
});
$("canvas").addEventListener("pointercancel", () => {
  dragged = null;
  draw();
});

// saving

const csv = (rows) =>
  rows.map((row) => row.map((cell) => (/[",\r\n]/.test(cell) ? `"${`${cell}`.replaceAll('"', '""')}"` : cell)).join(",")).join("\r\n") + "\r\n";

function save(content, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The boxes that are left, those drawn by hand as sure as can be.
const boxesOf = (photo) => [
  ...kept(photo).map((i) => ({ box: photo.boxes[i], score: photo.scores[i] })),
  ...photo.added.map((box) => ({ box, score: 1 })),
];

// The columns of `wheatear count`, and two more.
const COLUMNS =
  "image,heads,heads_low,heads_high,area_m2,heads_per_m2,heads_per_m2_low,heads_per_m2_high,width,height,warnings,removed,added";

function countsTable() {
  const rows = done().map((photo) => {
    const ends = photo.interval && isOwn() && !isMended(photo) ? photo.interval : [null, null];
    const fixed = (number, digits) => (number === null ? "" : number.toFixed(digits));
    const perArea = (number) => (number === null || !area(photo) ? "" : (number / area(photo)).toFixed(2));
    return [
      photo.file.name,
      count(photo),
      ...ends.map((end) => fixed(end, 1)),
      fixed(area(photo), 4),
      ...[count(photo), ...ends].map(perArea),
      photo.width,
      photo.height,
      photo.warnings.join("; "),
      found(photo).length - kept(photo).length,
      photo.added.length,
    ];
  });
  return csv([COLUMNS.split(","), ...rows]);
}

const headsTable = () =>
  csv([
    ["image", "xmin", "ymin", "xmax", "ymax", "score"],
    ...done().flatMap((photo) => boxesOf(photo).map(({ box, score }) => [photo.file.name, ...box, score])),
  ]);

function labels() {
  const annotations = [];
  const images = done().map((photo, i) => {
    for (const { box } of boxesOf(photo)) {
      const [width, height] = sides(box);
      annotations.push({
        id: annotations.length + 1,
        image_id: i + 1,
        category_id: 1,
        bbox: [box[0], box[1], width, height].map((side) => +side.toFixed(2)),
        area: +(width * height).toFixed(2),
        iscrowd: 0,
      });
    }
    return { id: i + 1, file_name: photo.file.name, width: photo.width, height: photo.height };
  });
  return JSON.stringify({ images, annotations, categories: [{ id: 1, name: "wheat head" }] });
}

async function picture() {
  const photo = photos[shown];
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  paint(canvas.getContext("2d"), photo, 1, Math.max(2, Math.round(Math.max(bitmap.width, bitmap.height) / 700)));
  save(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }), `${photo.file.name.replace(/\.[^.]*$/, "")}_heads.jpg`);
}

$("counts").addEventListener("click", () => save(countsTable(), "counts.csv", "text/csv"));
$("heads").addEventListener("click", () => save(headsTable(), "detections.csv", "text/csv"));
$("labels").addEventListener("click", () => save(labels(), "_annotations.coco.json", "application/json"));
$("picture").addEventListener("click", picture);

// the rest of the page

function again() {
  list();
  draw();
}

function setThreshold(value) {
  threshold = value;
  $("threshold").value = value;
  again();
}

$("threshold").min = model.floor;
$("threshold").addEventListener("input", () => setThreshold($("threshold").valueAsNumber));
$("own").addEventListener("click", () => setThreshold(model.threshold));
for (const id of ["metres", "boxes", "whole"]) $(id).addEventListener("input", again);
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = "";
});
addEventListener("resize", draw);
addEventListener("keydown", (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step || event.target.matches("input") || shown === null) return;
  event.preventDefault();
  show(Math.min(photos.length - 1, Math.max(0, shown + step)));
});
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
addEventListener("beforeunload", (event) => {
  if (photos.some((photo) => photo.state === "done" && isMended(photo))) event.preventDefault();
});
$("threshold").value = threshold;
$("files").disabled = false; // from here on somebody listens
