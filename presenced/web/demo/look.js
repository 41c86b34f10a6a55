// How the demo shows things. Names and texts of people are only ever put in as text, never as HTML.

const HUES = 8;

export const WORDS = {
  chat: "Free to chat",
  online: "Online",
  away: "Away",
  xa: "Away for long",
  dnd: "Do not disturb",
  offline: "Offline",
};

/** The one element of the page with this id. */
export const part = (id) => document.getElementById(id);

/** A new element: its class, then its children, which are elements or text. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Puts text in place of what is there; touches nothing if it is the same, so that no screen reader reads it again. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Fills a face: the first letter of the name in a colour of its own, and the dot in its corner. For eyes alone: the
 * name stands beside it, and the status in words. */
export function showFace(face, name, dot) {
  const first = new Intl.Segmenter().segment(name)[Symbol.iterator]().next().value?.segment ?? "";
  const letter = element("span", "letter", first.toLocaleUpperCase());
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  letter.dataset.hue = String(sum % HUES);
  face.setAttribute("aria-hidden", "true");
  face.append(letter, element("span", "badge", dot));
}

/** Shows a status by the dot's shape and colour. With `name` a screen reader is told it as well. */
export function showDot(dot, status, name = "") {
  if (dot.dataset.status !== status) {
    if (dot.dataset.status) dot.classList.add("changed");
    dot.dataset.status = status;
  }
  if (name && dot.getAttribute("aria-label") !== name) dot.setAttribute("aria-label", name);
}

export function newDot() {
  const dot = element("span", "dot");
  dot.addEventListener("animationend", () => dot.classList.remove("changed"));
  return dot;
}

const namedDot = () => {
  const dot = newDot();
  dot.setAttribute("role", "img");
  return dot;
};

// --- words for times and changes ---------------------------------------------------------------------------------

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

/** A point in time: the time of day, and the date if it is more than half a day away. */
export const moment = (ms) =>
  (Math.abs(ms - Date.now()) < 43_200_000 ? clock : date).format(ms).replaceAll(/\s/g, "\u00a0");

/** A length of time in its largest unit: `5 min`. */
export function span(ms) {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h`;
  return `${Math.floor(minutes / 1440)} days`;
}

/** Since when a person is as they are. */
export function since(record, now) {
  if (record.sinceMs === 0) return "not here yet";
  const ms = now - (record.status === "offline" ? record.lastSeenMs || record.sinceMs : record.sinceMs);
  if (record.status === "offline") return ms < 60_000 ? "seen just now" : `seen ${span(ms)} ago`;
  return ms < 60_000 ? "since just now" : `for ${span(ms)}`;
}

export const quoted = (record) => [record.emoji, record.text && `“${record.text}”`].filter(Boolean).join(" ");

const CLAUSES = {
  chat: "is free to chat",
  online: "is online",
  away: "is away",
  xa: "is away for long",
  dnd: "asks not to be disturbed",
  offline: "is offline",
};

/** What a change was, as a clause after the person's name. */
export function news(before, now) {
  const text = quoted(now);
  if (before?.status !== now.status) return CLAUSES[now.status] + (text ? `: ${text}` : "");
  return text ? `says ${text}` : "has cleared the text";
}

// --- rows of lists ------------------------------------------------------------------------------------------------

/** A list of the page, with one row for each key. A row stays the same element for as long as its key is there. */
export class Rows {
  constructor(list, make) {
    this.list = list;
    this.make = make;
    this.rows = new Map();
  }

  /** Show these keys in this order; `values` has what each row shows. */
  show(keys, values) {
    for (const [key, row] of this.rows) {
      if (!keys.includes(key)) {
        row.node.remove();
        this.rows.delete(key);
      }
    }
    keys.forEach((key, place) => {
      let row = this.rows.get(key);
      if (!row) this.rows.set(key, (row = this.make(key)));
      row.show(values.get(key));
      if (this.list.children[place] !== row.node) this.list.insertBefore(row.node, this.list.children[place] ?? null);
    });
  }
}

/** A row for one person, with the link by which one becomes that person in another tab. */
export function personRow(user, { onRemove, now }) {
  const face = element("span", "face");
  const dot = newDot();
  showFace(face, user, dot);
  const status = element("span", "status");
  const text = element("bdi", "text");
  const time = element("span", "since");
  const who = element("div", "who", element("p", "name", element("bdi", "", user)), element("p", "line", status, text, time));
  const open = element("a", "quiet open", element("span", "words", "Open a tab"), element("span", "sign", "↗"));
  open.href = `/?as=${encodeURIComponent(user)}`;
  open.target = "_blank";
  open.rel = "noopener";
  open.setAttribute("aria-label", `Open a tab as ${user}`);
  const node = element("li", "person", face, who, open);
  if (onRemove) {
    const remove = element("button", "quiet icon", "×");
    remove.type = "button";
    remove.setAttribute("aria-label", `Stop watching ${user}`);
    remove.addEventListener("click", onRemove);
    node.append(remove);
  }
  return {
    node,
    show(record) {
      showDot(dot, record.status);
      put(status, WORDS[record.status]);
      put(text, quoted(record));
      put(time, since(record, now()));
    },
  };
}

/** A row for one member of a room: a dot that has a name, and the person's name. */
export function memberRow(user, me) {
  const dot = namedDot();
  const text = element("bdi", "text");
  const node = element("li", "member", dot, element("bdi", "name", user));
  if (user === me) node.append(element("span", "you", "you"));
  node.append(text);
  return {
    node,
    show(record) {
      showDot(dot, record.status, WORDS[record.status]);
      put(text, quoted(record));
    },
  };
}

const STATES = { grace: "connection lost, still counted", gone: "gone" };

/** A row for one device of one's own. */
export function deviceRow(device, own) {
  const dot = newDot();
  dot.setAttribute("aria-hidden", "true");
  const name = element("bdi", "name");
  const state = element("span", "status");
  const node = element("li", "device", dot, name, state);
  if (device === own) node.append(element("span", "you", "this tab"));
  const used = element("span", "you used", "used last");
  return {
    node,
    show(info) {
      showDot(dot, info.state === "gone" ? "offline" : info.status);
      put(name, info.name || info.kind || info.device);
      put(state, STATES[info.state] ?? WORDS[info.status]);
      if (info.primary && info.state !== "gone") node.append(used);
      else used.remove();
    },
  };
}

/** A command of the terminal, what it does, and a button that copies it. */
export function command(words, sentence) {
  const code = element("code", "", words);
  const copy = element("button", "quiet", "Copy");
  copy.type = "button";
  copy.setAttribute("aria-label", `Copy the command. ${sentence}`);
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words);
      put(copy, "Copied");
      setTimeout(() => put(copy, "Copy"), 2000);
    } catch {
      // A browser may refuse it to the page; the person can copy what is selected.
      getSelection().selectAllChildren(code);
    }
  });
  return [element("dt", "", sentence), element("dd", "", code, copy)];
}
