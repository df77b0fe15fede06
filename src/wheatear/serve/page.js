// Photos are counted one after the other, shown with their boxes, corrected by hand and saved. Boxes are
// [x1, y1, x2, y2] in pixels of the photo. Nothing is sent except a photo to the detector on this computer.

const $ = (id) => document.getElementById(id);
const style = getComputedStyle(document.documentElement);
const SMALLEST = 4; // pixels of the screen: a shorter drag is a click
const LINE = 2;
const LEAST_HEIGHT = 0.6; // of the window's, for a photo even if one must scroll to it
const SAME = 0.5; // IoU from which a box drawn by hand replaces another one
const ENLARGED = 3000; // pixels of the longer side of a photo enlarged as far as it can be
const WHEEL = 1 / 300; // natural logarithm of the enlargement, for each pixel that a wheel turns
const STEP = 0.125; // by which a key moves a box or its edge, as a fraction of its side
const FIRST_SIDE = 0.07; // the side of a box placed where there is no other, as a fraction of the photo's width

const START = $("said").textContent;

const model = await (await fetch("model")).json();
// {file, state, error, width, height, turned, boxes, scores, resized_by, pixels, area_m2, warnings, removed, added,
// checked, button};
// a state is waiting, busy, done, failed (it may be added again) or refused; checked is the threshold at which the user
// confirmed its boxes, or null
const photos = [];
let shown = null;
let bitmap = null; // of the photo shown, once it is opened
let isOpened = false; // whether the browser has tried to open it
let dragged = null; // [x1, y1, x2, y2] while a box is drawn
let chosen = null; // one of `mendable`, chosen by keyboard
let isPlacing = false; // whether `dragged` is being moved by keyboard
let zoom = 1; // pixels of the screen per pixel of the photo, if it is not shown whole
let threshold = model.threshold;
let fitted = null; // the threshold fitted to checked photos
let isFitOff = false; // whether their count at that threshold is still far off
let counting = false;
const unsaved = new Set(); // "boxes", if some were corrected, and "counts"

const sorted = ([x1, y1, x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
const sides = ([x1, y1, x2, y2]) => [x2 - x1, y2 - y1];
const surface = (box) => sides(box).reduce((width, height) => Math.max(0, width) * Math.max(0, height));
const holds = ([x1, y1, x2, y2], [x, y]) => x1 <= x && x < x2 && y1 <= y && y < y2;

function iou(one, other) {
  const shared = surface([0, 1, 2, 3].map((i) => (i < 2 ? Math.max : Math.min)(one[i], other[i])));
  return shared / (surface(one) + surface(other) - shared);
}

// what is known

// Scores are the detector's 32-bit floats, compared as `wheatear count` compares them.
const isSure = (score, limit) => score >= Math.fround(limit);
const limitOf = (photo) => photo.checked ?? threshold;
const found = (photo) =>
  photo.scores.flatMap((score, i) =>
    isSure(score, limitOf(photo)) && !photo.added.some((box) => iou(box, photo.boxes[i]) >= SAME) ? [i] : [],
  );
const kept = (photo) => found(photo).filter((i) => !photo.removed.has(i));
const count = (photo) => kept(photo).length + photo.added.length;
const done = () => photos.filter((photo) => photo.state === "done");
const isMended = (photo) => photo.added.length > 0 || found(photo).length > kept(photo).length;
const isChecked = (photo) => photo.checked !== null;
const isOwn = () => threshold === model.threshold;
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const plural = (number, noun) => (number === 1 ? noun : `${noun}s`);
const heads = (number) => `${number.toLocaleString("en")} ${plural(number, "head")}`;

// A browser's number field would drop the comma of 1,2 without a word, depending on its language.
const metres = () => ($("metres").validity.valid && +$("metres").value.replace(",", ".")) || null;

// An image's own coordinates are better than a number for all photos.
const area = (photo) => photo.area_m2 ?? (metres() && (metres() ** 2 * photo.pixels) / photo.width ** 2);

// The remaining boxes, highest score first; those drawn by hand have a score of 1.
const boxesOf = (photo) => [
  ...photo.added.map((box) => ({ box, score: 1 })),
  ...kept(photo).map((i) => ({ box: photo.boxes[i], score: photo.scores[i] })),
];

// What can be corrected: each box with its index i among the detector's, null if drawn by hand; lowest score first.
const mendable = (photo) => [
  ...found(photo).map((i) => ({ box: photo.boxes[i], i })).reverse(),
  ...photo.added.map((box) => ({ box, i: null })),
];

// The counting error is known at the detector's own threshold, and is no larger at one fitted to photos of the field.
const isFitted = () => threshold === fitted && photos.some(isChecked);
const isErrorKnown = () => model.error && (isFitted() ? !isFitOff : isOwn());
const margin = (number) => model.error.margin * Math.max(1, number / model.error.mean_heads);
const likely = (low, high, digits) => `likely ${low.toFixed(digits)} to ${high.toFixed(digits)}`;

function interval(photo) {
  if (isChecked(photo) || isMended(photo) || !isErrorKnown()) return null;
  const number = count(photo);
  return [Math.max(0, number - margin(number)), number + margin(number)];
}

// The mean of photos, as `wheatear count` has it for a folder: heads per photo or, if all areas are known, per m² over
// those that show any ground.
function meanOf(all) {
  const measured = all.filter(area);
  const isPerArea = measured.length > 0 && all.every((photo) => area(photo) !== null);
  const counted = isPerArea ? measured : all;
  const numbers = counted.map(count);
  const [of, unit] = isPerArea ? [counted.map(area), "per m²"] : [counted.map(() => 1), "per photo"];
  const ratio = sum(numbers) / sum(of);
  const text = `${ratio.toFixed(1)} ${unit}`;
  const many = counted.length;
  if (!isErrorKnown() || many < 2) return text;
  const squares = sum(numbers.map((number, i) => (number - ratio * of[i]) ** 2));
  const error = Math.sqrt((squares * many) / (many - 1)) / sum(of);
  const margins = sum(counted.map((photo, i) => (isChecked(photo) ? 0 : margin(numbers[i]))));
  const student = model.student_95[Math.min(many - 2, model.student_95.length - 1)];
  const half = Math.hypot(student * error, (model.shared * margins) / sum(of));
  return `${text} (${likely(Math.max(0, ratio - half), ratio + half, 1)})`;
}

const middle = (numbers) => [...numbers].sort((one, other) => one - other)[numbers.length >> 1];

function warningsOf(photo) {
  const warnings = [...photo.warnings];
  const isWide = metres() && photo.area_m2 === null;
  const isTurned = (other) =>
    other.area_m2 === null && other.width === photo.height && other.height === photo.width && photo.width !== photo.height;
  if (isWide && done().some(isTurned))
    warnings.push("some photos are upright and some lie on their side: is each as many metres wide?");
  if (!area(photo) || count(photo) < model.enough_heads) return warnings;
  const surfaces = boxesOf(photo).map(({ box }) => surface(box));
  const side = Math.sqrt((middle(surfaces) * area(photo)) / photo.pixels);
  const [shortest, longest] = model.head_metres;
  if (shortest <= side && side <= longest) return warnings;
  const doubt = isWide ? "are the metres right?" : "is the photo's scale right?";
  return [...warnings, `heads would be ${+(1000 * side).toPrecision(3)} mm long; ${doubt}`];
}

function describe(photo) {
  if (photo.state !== "done") return { waiting: "waits", busy: "is being counted" }[photo.state] ?? photo.error;
  const parts = [];
  const ends = interval(photo);
  if (isChecked(photo)) parts.push("checked");
  else if (isMended(photo)) parts.push("corrected");
  else if (ends) parts.push(likely(...ends, 0));
  if (area(photo)) parts.push(`${(count(photo) / area(photo)).toFixed(1)} per m²`);
  return [...parts, ...warningsOf(photo)].join(" · ");
}

// counting

// Photos are told apart by file name without its extension, as data sets know them.
const stem = ({ name }) => name.replace(/\.[^.]*$/, "");

// Whether a photo was refused for the name that another one has.
const isHeir = ({ file, state }, photo) => state === "refused" && stem(file) === stem(photo.file);

const isSame = (one, other) =>
  one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;

function add(files) {
  for (const file of files) {
    const namesake = photos.find((photo) => photo.state !== "refused" && stem(photo.file) === stem(file));
    if (namesake?.state === "failed") {
      dropRefused(file, namesake);
      Object.assign(namesake, { file, state: "waiting" });
      if (namesake === photos[shown]) show(shown);
    } else if (!photos.some((photo) => isSame(photo.file, file))) {
      const state = namesake ? "refused" : "waiting";
      const error = namesake ? "shares its name with another photo; rename one, or count folders with wheatear count" : "";
      const photo = { file, state, error, removed: new Set(), added: [], checked: null };
      photos.push(Object.assign(photo, { button: line(photo) }));
    }
  }
  if (shown === null && photos.length) show(0);
  again();
  countAll();
}

// Removes the line of a file that was refused for its name, now that it replaces the photo that had this name.
function dropRefused(file, namesake) {
  const i = photos.findIndex((photo) => photo.state === "refused" && isSame(photo.file, file));
  if (i < 0) return;
  const [photo] = photos.splice(i, 1);
  if (photo.button === document.activeElement) namesake.button.focus();
  photo.button.parentElement.remove();
  if (shown === i) show(photos.indexOf(namesake));
  else if (shown > i) shown -= 1;
}

async function countAll() {
  if (counting) return;
  counting = true;
  for (let photo; (photo = photos.find(({ state }) => state === "waiting")); ) {
    photo.state = "busy";
    again();
    const { isUnreadable, ...seen } = await looked(photo.file);
    Object.assign(photo, seen);
    if (photo.state === "done" && photos.includes(photo)) unsaved.add("counts");
    if (photo.state === "down") {
      photo.state = "waiting";
      break;
    }
    again();
    const heir = isUnreadable && photos.find((other) => isHeir(other, photo));
    if (heir) add([heir.file]); // as a camera's JPEG beside its raw photo
  }
  counting = false;
  again();
}

// The detector's answer for a photo: the heads, or why there are none. "down": the server does not respond.
async function looked(file) {
  try {
    const now = await (await fetch("model")).json();
    if (JSON.stringify(now) !== JSON.stringify(model)) return { state: "failed", error: "another detector runs now: save, and reload the page" };
    const answer = await fetch(`detect?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    const said = await answer.json();
    if (answer.ok) return { ...said, state: "done" };
    return { state: "failed", error: said.error, isUnreadable: answer.status < 500 }; // whenever it is sent
  } catch {
    const isThere = await file.slice(0, 1).arrayBuffer().then(() => true, () => false);
    if (!isThere) return { state: "failed", error: "cannot be read (moved, changed or a folder); add it again" };
    const isUp = await fetch("model").then(() => true, () => false);
    return isUp ? { state: "failed", error: "was not answered; add it again" } : { state: "down" };
  }
}

// showing

// A line of the list; `list` fills in its parts, so that it keeps keyboard focus.
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

// A text that screen readers announce is only set if it changes.
function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

function list() {
  photos.forEach((photo, i) => {
    const [name, number, more] = photo.button.children;
    photo.button.setAttribute("aria-current", i === shown);
    photo.button.tabIndex = i === shown ? 0 : -1;
    name.textContent = photo.file.name;
    number.textContent = photo.state === "done" ? count(photo).toLocaleString("en") : "";
    more.textContent = describe(photo);
  });
  const counted = done();
  const of = counted.length === photos.length ? "" : ` of ${photos.length}`;
  const isWaiting = photos.some(({ state }) => state === "waiting");
  const parts = [`${heads(sum(counted.map(count)))} in ${counted.length}${of} ${plural(photos.length, "photo")}`];
  if (counted.length > 1) parts.push(meanOf(counted));
  $("total").setAttribute("aria-live", counting ? "off" : "polite");
  say("total", photos.length ? [...parts, `detector ${model.name}`].join(", ") : "");
  $("again").hidden = counting || !isWaiting;
  for (const id of ["counts", "heads", "labels"]) $(id).disabled = !counted.length;
}

function leaveOut() {
  const [photo] = photos.splice(shown, 1);
  photo.button.parentElement.remove();
  const heir = photos.find((other) => isHeir(other, photo));
  if (heir && photo.state !== "refused") heir.state = "waiting";
  if (photos.length) {
    show(Math.min(shown, photos.length - 1));
    photos[shown].button.focus();
    return countAll();
  }
  bitmap?.close();
  shown = bitmap = fitted = null;
  unsaved.clear();
  setThreshold(model.threshold);
  $("files").focus();
}

async function show(i) {
  shown = i;
  bitmap?.close();
  bitmap = null;
  isOpened = false;
  forget();
  again();
  const photo = photos[i];
  const { file } = photo;
  photo.button.scrollIntoView({ block: "nearest" });
  const opened = await createImageBitmap(file).catch(() => null);
  if (photo !== photos[shown] || photo.file !== file || bitmap) return opened?.close();
  bitmap = opened;
  isOpened = true;
  draw();
}

function draw() {
  const photo = photos[shown];
  const isDone = photo?.state === "done";
  document.body.classList.toggle("empty", !photo);
  $("tools").hidden = !isDone;
  $("help").hidden = true;
  $("leave").hidden = !photo;
  $("score").textContent = threshold.toFixed(2);
  $("own").disabled = isOwn();
  $("fit").disabled = !photos.some(isChecked);
  $("checking").hidden = !isDone;
  $("checked").checked = isDone && isChecked(photo);
  if (!photo) {
    $("canvas").hidden = true;
    return say("said", START);
  }
  const isAsShown =
    bitmap && (!isDone || (!photo.turned && bitmap.width === photo.width && bitmap.height === photo.height));
  const hint = isOpened && isDone && !isAsShown ? "This browser cannot show the photo; save it as JPEG to see its boxes." : "";
  say("said", [photo.file.name, isDone ? heads(count(photo)) : "", describe(photo), hint].filter(Boolean).join(" · "));
  $("canvas").hidden = $("picture").disabled = !isAsShown;
  if (isOpened && !isAsShown && !isChecked(photo)) $("checking").hidden = true; // nobody can see whether each head has a box
  if (!isAsShown) return;
  $("help").hidden = !isDone || !$("boxes").checked;
  const canvas = $("canvas");
  const stage = $("stage");
  zoom = clamp(wholeScale(), zoom, largestScale()); // another photo may have been shown before
  const scale = $("whole").checked ? wholeScale() : zoom;
  const dots = Math.max(1, Math.min(devicePixelRatio, 1 / scale));
  canvas.style.width = `${bitmap.width * scale}px`;
  canvas.style.height = `${bitmap.height * scale}px`;
  canvas.width = Math.round(bitmap.width * scale * dots);
  canvas.height = Math.round(bitmap.height * scale * dots);
  canvas.setAttribute("aria-label", $("said").textContent);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (isDone && $("boxes").checked) drawBoxes(context, photo, scale * dots, LINE * dots);
}

// The scale at which the whole photo is shown, and the largest one.
function wholeScale() {
  const stage = $("stage");
  const below = innerHeight - stage.offsetTop - $("help").offsetHeight;
  const height = Math.max(below, LEAST_HEIGHT * innerHeight);
  return Math.min(1, stage.clientWidth / bitmap.width, height / bitmap.height);
}
const largestScale = () => Math.max(1, ENLARGED / Math.max(bitmap.width, bitmap.height));

// Shows the photo at a scale, whole if that is small enough, with a point of it, as fractions of its sides, at a place
// of the window.
function enlarge(scale, point, place) {
  const whole = wholeScale();
  zoom = clamp(whole, scale, largestScale());
  $("whole").checked = zoom === whole;
  draw();
  const off = () => {
    const { left, top, width, height } = $("canvas").getBoundingClientRect();
    return [left + point[0] * width - place[0], top + point[1] * height - place[1]];
  };
  $("stage").scrollBy(...off());
  scrollBy(0, off()[1]); // where the stage itself is higher than what is left of the window
}

const colour = (name) => style.getPropertyValue(`--${name}`);

function stroke(context, box, scale, width, colour, isDashed = false) {
  const [x1, y1, x2, y2] = box.map((side) => side * scale);
  context.setLineDash(isDashed ? [3 * width, 3 * width] : []);
  for (const [lineWidth, strokeStyle] of [[2 * width, "#000a"], [width, colour]]) {
    Object.assign(context, { lineWidth, strokeStyle });
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
}

function drawBoxes(context, photo, scale, width) {
  for (const i of found(photo)) {
    const isRemoved = photo.removed.has(i);
    stroke(context, photo.boxes[i], scale, width, colour(isRemoved ? "removed" : "found"), isRemoved);
  }
  for (const box of photo.added) stroke(context, box, scale, width, colour("added"));
  if (chosen) stroke(context, chosen.box, scale, 2 * width, colour("chosen"), photo.removed.has(chosen.i));
  if (dragged) stroke(context, sorted(dragged), scale, width, colour("added"), true);
}

// correcting

// Where an event is in the photo, as fractions of its sides.
function within(event) {
  const place = $("canvas").getBoundingClientRect();
  const at = [(event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height];
  return at.map((fraction) => clamp(0, fraction, 1));
}

function inPhoto(event) {
  const photo = photos[shown];
  const at = within(event);
  return [photo.width * at[0], photo.height * at[1]];
}

// Toggles the smallest of the boxes at a point, as a larger one can be clicked elsewhere.
function toggleAt(photo, point) {
  const boxes = mendable(photo).filter(({ box }) => holds(box, point));
  if (boxes.length)
    toggle(photo, boxes.reduce((least, other) => (surface(other.box) < surface(least.box) ? other : least)));
}

function toggle(photo, { box, i }) {
  unsaved.add("boxes").add("counts");
  if (i === null) photo.added.splice(photo.added.indexOf(box), 1);
  else if (!photo.removed.delete(i)) photo.removed.add(i);
}

function addBox(photo, box) {
  const others = photo.added.filter((other) => iou(box, other) < SAME);
  photo.added = [...others, box.map((side) => +side.toFixed(2))];
  unsaved.add("boxes").add("counts");
}

$("canvas").addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary || photos[shown].state !== "done" || !$("boxes").checked) return;
  $("canvas").setPointerCapture(event.pointerId);
  forget();
  dragged = [...inPhoto(event), ...inPhoto(event)]; // (what is said lies over the page, so nothing moved)
});
$("canvas").addEventListener("pointermove", (event) => {
  if (!dragged || isPlacing || !event.isPrimary) return;
  dragged.splice(2, 2, ...inPhoto(event));
  draw();
});
$("canvas").addEventListener("pointerup", (event) => {
  if (!dragged || isPlacing || !event.isPrimary) return;
  const photo = photos[shown];
  const box = sorted(dragged);
  const screen = $("canvas").getBoundingClientRect().width / photo.width;
  dragged = null;
  if (sides(box).every((side) => side * screen >= SMALLEST)) addBox(photo, box);
  else if (sides(box).every((side) => side * screen < SMALLEST)) toggleAt(photo, box);
  again();
});
function forget() {
  dragged = chosen = null;
  isPlacing = false;
  say("at", "");
}
function letGo() {
  forget();
  draw();
}

$("canvas").addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return; // which a touchpad's pinch sets, too
  event.preventDefault();
  const scale = $("whole").checked ? wholeScale() : zoom;
  enlarge(scale * Math.exp(-event.deltaY * WHEEL), within(event), [event.clientX, event.clientY]);
}, { passive: false });

$("canvas").addEventListener("pointercancel", letGo); // a finger that scrolls draws nothing

// The same by keyboard: arrow keys go through the boxes, or move the one being placed.

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function choose(photo, step) {
  const boxes = mendable(photo);
  if (!boxes.length) return;
  const at = chosen ? boxes.findIndex(({ box }) => box === chosen.box) : -1;
  const next = at < 0 ? (step > 0 ? 0 : boxes.length - 1) : (at + step + boxes.length) % boxes.length;
  chosen = boxes[next];
  tell(photo, `${next + 1} of ${boxes.length}`);
}

function tell(photo, order) {
  const { box, i } = chosen;
  const kind = i === null ? "drawn by hand" : `score ${photo.scores[i].toFixed(2)}`;
  say("at", [order, kind, photo.removed.has(i) ? "removed" : ""].filter(Boolean).join(", "));
  reveal(box);
}

// Scrolls a box into view, if the photo is larger than the stage.
function reveal([x1, y1, x2, y2]) {
  const stage = $("stage");
  const scale = $("canvas").clientWidth / photos[shown].width;
  const [width, height] = [stage.clientWidth, stage.clientHeight];
  if (x1 * scale < stage.scrollLeft || x2 * scale > stage.scrollLeft + width)
    stage.scrollLeft = ((x1 + x2) * scale - width) / 2;
  if (y1 * scale < stage.scrollTop || y2 * scale > stage.scrollTop + height)
    stage.scrollTop = ((y1 + y2) * scale - height) / 2;
}

// Places a new box with the photo's median width and height, right of the chosen one or in the middle of the view.
function place(photo) {
  const sizes = boxesOf(photo).map(({ box }) => sides(box));
  const first = Math.min(FIRST_SIDE * photo.width, photo.height);
  const size = [0, 1].map((i) => (sizes.length ? middle(sizes.map((size) => size[i])) : first));
  const stage = $("stage");
  const scale = $("canvas").clientWidth / photo.width;
  const start = chosen
    ? [chosen.box[2], chosen.box[1]]
    : [stage.scrollLeft + stage.clientWidth / 2, stage.scrollTop + stage.clientHeight / 2].map((at) => at / scale);
  forget();
  isPlacing = true;
  dragged = moved(photo, [0, 0, ...size], start);
  reveal(dragged);
  say("at", "a new box: arrows move it, with Shift its lower right corner; Enter keeps it, Escape does not");
}

const clamp = (low, value, high) => Math.max(low, Math.min(value, high));

// A box moved, but not beyond the photo.
function moved(photo, [x1, y1, x2, y2], [right, down]) {
  const x = clamp(-x1, right, photo.width - x2);
  const y = clamp(-y1, down, photo.height - y2);
  return [x1 + x, y1 + y, x2 + x, y2 + y];
}

function resized(photo, [x1, y1, x2, y2], [right, down]) {
  const [width, height] = [Math.min(SMALLEST, x2 - x1), Math.min(SMALLEST, y2 - y1)];
  return [x1, y1, clamp(x1 + width, x2 + right, photo.width), clamp(y1 + height, y2 + down, photo.height)];
}

$("canvas").addEventListener("keydown", (event) => {
  const photo = photos[shown];
  if (photo.state !== "done" || !$("boxes").checked || event.altKey || event.ctrlKey || event.metaKey) return;
  const way = WAYS[event.key];
  if (isPlacing && way) {
    const step = sides(dragged).map((side, i) => way[i] * STEP * side);
    dragged = (event.shiftKey ? resized : moved)(photo, dragged, step);
    reveal(dragged);
  } else if (isPlacing && event.key === "Enter") {
    addBox(photo, dragged);
    forget();
  } else if (isPlacing) return;
  else if (way) choose(photo, way[0] + way[1]);
  else if (["Enter", " ", "Delete"].includes(event.key) && chosen) {
    toggle(photo, chosen);
    if (chosen.i === null) forget();
    else tell(photo, "");
  } else if (event.key === "+") place(photo);
  else return;
  event.preventDefault();
  again();
});

// saving

const csv = (rows) =>
  rows.map((row) => row.map((cell) => (/[",\r\n]/.test(cell) ? `"${`${cell}`.replaceAll('"', '""')}"` : cell)).join(",")).join("\n") + "\n";

function save(content, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The columns of `wheatear count`, and others that record the work by hand and how the rest was found.
function countsTable() {
  const rows = done().map((photo) => {
    const ends = interval(photo) ?? [null, null];
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
      fixed(photo.resized_by, 1),
      warningsOf(photo).join("; "),
      photo.scores.filter((score) => isSure(score, limitOf(photo))).length - kept(photo).length,
      photo.added.length,
      isChecked(photo) ? "yes" : "no",
      limitOf(photo),
      model.run,
    ];
  });
  return csv([model.counts_header, ...rows]);
}

const headsTable = () =>
  csv([
    model.heads_header,
    ...done().flatMap((photo) => boxesOf(photo).map(({ box, score }) => [photo.file.name, ...box, +score.toFixed(4)])),
  ]);

// A detector's own boxes are no ground truth: if some photos are checked, the labels are of these alone.
const labelled = () => (photos.some(isChecked) ? done().filter(isChecked) : done());

function labels() {
  const annotations = [];
  const images = labelled().map((photo, i) => {
    for (const { box } of boxesOf(photo)) {
      const [width, height] = sides(box);
      annotations.push({
        id: annotations.length + 1,
        image_id: i + 1,
        category_id: model.categories[0].id,
        bbox: [box[0], box[1], width, height].map((side) => +side.toFixed(2)),
        area: +(width * height).toFixed(2),
        iscrowd: 0,
      });
    }
    return { id: i + 1, file_name: photo.file.name, width: photo.width, height: photo.height };
  });
  return JSON.stringify({ images, annotations, categories: model.categories });
}

function whoseLabels() {
  const [all, some] = [done().length, labelled().length];
  if (!photos.some(isChecked))
    return "No photo is checked, so these labels are what the detector found: check photos before you train with them or judge by them";
  const without = all > some ? `, without ${all - some} unchecked` : "";
  return `Labels of ${some} checked ${plural(some, "photo")}${without}`;
}

async function picture() {
  const photo = photos[shown];
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  const width = Math.max(LINE, Math.round(Math.max(bitmap.width, bitmap.height) / 700));
  context.drawImage(bitmap, 0, 0);
  for (const { box } of boxesOf(photo)) stroke(context, box, 1, width, colour("found"));
  save(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }), `${stem(photo.file)}_heads.jpg`);
}

for (const [id, content, name, type] of [
  ["counts", countsTable, "counts.csv", "text/csv"],
  ["heads", headsTable, "detections.csv", "text/csv"],
  ["labels", labels, "_annotations.coco.json", "application/json"],
])
  $(id).addEventListener("click", () => {
    save(content(), name, type);
    const isWhole = id === "heads" || done().every((photo) => !isMended(photo) || labelled().includes(photo));
    if (id !== "counts" && isWhole) unsaved.delete("boxes");
    if (id === "labels") say("at", whoseLabels());
    if (id === "counts" || !photos.some(isChecked)) unsaved.delete("counts"); // boxes do not say what is checked
  });
$("picture").addEventListener("click", picture);

// the rest of the page

function again() {
  list();
  draw();
}

function setThreshold(value) {
  threshold = value;
  forget();
  $("threshold").value = value;
  again();
}

// Fits the threshold to the checked photos, as `wheatear count --by-hand` does: that at which as many heads are found,
// drawn towards the detector's own.
function fit() {
  const checked = photos.filter(isChecked);
  const wanted = sum(checked.map(count));
  const scores = checked.flatMap((photo) => photo.scores);
  const foundAt = (limit) => scores.filter((score) => isSure(score, limit)).length;
  const off = (limit) => Math.abs(foundAt(limit) - wanted);
  const far = (limit) => Math.abs(limit - model.threshold);
  const best = model.thresholds.reduce((least, limit) => {
    const difference = off(limit) - off(least);
    return difference < 0 || (difference === 0 && far(limit) < far(least)) ? limit : least;
  });
  const part = ((best - model.threshold) * checked.length) / (checked.length + model.own_worth);
  fitted = Math.floor(100 * (model.threshold + part) + 0.5) / 100;
  const [share, many] = model.still_off;
  isFitOff = off(fitted) > Math.max(share * wanted, many * checked.length);
  setThreshold(fitted);
  const said = `${heads(wanted)} in ${checked.length} checked ${plural(checked.length, "photo")}, ${foundAt(fitted)} found now`;
  const doubt = isFitOff ? "that is still far off, so there are no intervals" : "";
  say("at", [[said, doubt].filter(Boolean).join(": "), sizeHint(checked)].filter(Boolean).join(". "));
}

// Heads much smaller or larger than in training are found better if the detector is given their size.
function sizeHint(checked) {
  const boxes = checked.filter((photo) => photo.resized_by === null).flatMap(boxesOf);
  if (!model.usual_px || boxes.length < model.enough_heads) return "";
  const px = Math.sqrt(middle(boxes.map(({ box }) => surface(box))));
  const [smallest, largest] = model.usual_px;
  if (smallest < px && px < largest) return "";
  const told = Math.round(px);
  return `These heads have ${told} px, and the detector knows ${Math.round(model.trained_px)}: it finds them better if started with --head-px ${told}`;
}

$("threshold").min = model.floor;
$("threshold").addEventListener("input", () => setThreshold($("threshold").valueAsNumber));
$("own").addEventListener("click", () => {
  $("threshold").focus(); // as the button, disabled now, would lose it
  setThreshold(model.threshold);
});
$("fit").addEventListener("click", fit);
$("checked").addEventListener("input", () => {
  photos[shown].checked = $("checked").checked ? threshold : null;
  unsaved.add("counts");
  forget();
  again();
});
$("again").addEventListener("click", () => {
  photos[shown].button.focus();
  countAll();
});
$("leave").addEventListener("click", leaveOut);
for (const id of ["metres", "boxes"]) $(id).addEventListener("input", again);
$("whole").addEventListener("input", () => {
  if ($("whole").checked || !bitmap) return again();
  const { left, top, width, height } = $("canvas").getBoundingClientRect();
  const box = chosen?.box ?? [0, 0, bitmap.width, bitmap.height];
  const point = [(box[0] + box[2]) / 2 / bitmap.width, (box[1] + box[3]) / 2 / bitmap.height];
  enlarge(1, point, [left + width / 2, top + height / 2]);
});
$("finger").parentElement.hidden = !matchMedia("(any-pointer: coarse)").matches;
$("finger").addEventListener("input", () => $("canvas").classList.toggle("drawn-on", $("finger").checked));
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = "";
});
addEventListener("resize", draw);
$("photos").addEventListener("keydown", (event) => {
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  show(Math.min(photos.length - 1, Math.max(0, shown + step)));
  photos[shown].button.focus();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape") letGo();
});
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") add(event.dataTransfer.files);
  });
addEventListener("beforeunload", (event) => {
  if (unsaved.size || counting) event.preventDefault();
});
$("threshold").value = threshold;
$("files").disabled = false; // from here on, its changes are handled
