/**
 * A client of presenced for browsers and Node: who is online, told at once.
 *
 * Names, texts and notes are what people wrote. Show them as text (`textContent`), never as HTML.
 */

/** What a user shows. `online` and `chat` are there, `away` and `xa` are not at the device, `dnd` wants quiet. */
export type Status = "chat" | "online" | "away" | "xa" | "dnd" | "offline";

/** What a device may say of itself. */
export type DeviceStatus = Exclude<Status, "offline">;

/** What others see of a user. Frozen; a change brings a new one. Times are milliseconds since 1970; 0 is never. */
export interface PresenceRecord {
  readonly user: string;
  readonly status: Status;
  readonly text: string;
  readonly emoji: string;
  /** Since when this status holds. */
  readonly sinceMs: number;
  /** While offline: when the user was last seen. */
  readonly lastSeenMs: number;
  /** The device that the user was last at. */
  readonly device: string;
  /** Orders what one link tells; says nothing else. */
  readonly version: number;
}

export interface DeviceInfo {
  readonly device: string;
  readonly kind: string;
  readonly name: string;
  readonly status: Status;
  readonly state: "connected" | "grace" | "gone";
  readonly priority: number;
  readonly lastActiveMs: number;
  readonly lastSeenMs: number;
  readonly primary: boolean;
  readonly meta: string;
  readonly focus: string;
}

export type ClaimSource = "call" | "manual" | "calendar";

export interface Claim {
  readonly claim: string;
  readonly source: ClaimSource | "schedule";
  readonly status: Status;
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly device: string;
}

/** What only the user sees of themselves. */
export interface OwnState {
  readonly record: PresenceRecord;
  readonly claims: readonly Claim[];
  /** The text that the user has set; the record may show an earlier one while the user appears offline. */
  readonly text: string;
  readonly emoji: string;
  /** When text and emoji end; 0: never. */
  readonly textUntilMs: number;
  readonly devices: readonly DeviceInfo[];
}

/** A contact as the user whose list it is sees it. */
export interface Contact {
  readonly user: string;
  /** Who sees the other: the user (`to`), the contact (`from`), both. */
  readonly subscription: "none" | "to" | "from" | "both";
  /** The user has asked to see the contact, and has no answer. */
  readonly asked: boolean;
  /** The contact has asked to see the user, and has no answer. */
  readonly asks: boolean;
  /** The contact will see the user as soon as they ask. */
  readonly approved: boolean;
  readonly name: string;
  readonly groups: readonly string[];
  /** What the contact wrote who `asks`. */
  readonly note: string;
}

/** One step of a user. `snapshot` is the first of each, with no `old`. */
export interface Change {
  readonly kind: "snapshot" | "online" | "offline" | "status" | "text" | "device";
  readonly user: string;
  readonly record: PresenceRecord;
  readonly old: PresenceRecord | undefined;
}

/** One step of a channel. `counts`: only the total is news, with no user. Of `leave` the record is the last one. */
export interface MemberChange {
  readonly kind: "snapshot" | "join" | "leave" | "change" | "counts";
  readonly user: string;
  readonly record: PresenceRecord | undefined;
  readonly old: PresenceRecord | undefined;
  readonly total: number;
}

/** One step of the list of contacts. `request`: the contact asks to see the user. Of `removed` the contact is null. */
export interface ListChange {
  readonly kind: "snapshot" | "request" | "change" | "removed";
  readonly user: string;
  readonly contact: Contact | null;
  readonly old: Contact | undefined;
}

/** `connecting` is the time before the first link; `reconnecting` comes after a lost one, and what is held stays. */
export type State = "connecting" | "online" | "reconnecting" | "closed";

/** Everything that this client rejects with or throws on purpose. */
export class PresenceError extends Error {
  constructor(code: string, message: string, temporary?: boolean, retryMs?: number);
  /** Stable, for programs: a code of protocol.md, section 8, or one of this client's: `unreachable`, `no_answer`,
   *  `link_lost`, `silent`, `garbled`, `timeout`, `token_failed`, `closed`. */
  readonly code: string;
  /** Whether the same attempt may succeed later. */
  readonly temporary: boolean;
  /** How long to wait first; 0: no advice. */
  readonly retryMs: number;
}

/** Takes the listener away. Idempotent. */
export type Off = () => void;

/**
 * Records of some users, kept up to date over lost links. Iterate it, or listen to `change`, or both. An iteration begins
 * with what is known, and a reader that falls behind gets the latest of each user once. A view that nobody listens to
 * is closed when its iteration is left.
 */
export interface View<C> extends AsyncIterable<C> {
  /** The newest record of each user. */
  readonly records: ReadonlyMap<string, PresenceRecord>;
  /** Kept once all records are there, on whichever link that is; rejected if the server refuses, or the view is closed
   *  before. */
  readonly ready: Promise<void>;
  /** Why it ended by itself; null while it goes on, and after `close`. */
  readonly error: PresenceError | null;
  get(user: string): PresenceRecord | undefined;
  on(event: "change", listener: (change: C) => unknown): Off;
  on(event: "end", listener: (error: PresenceError | null) => unknown): Off;
  close(): void;
}

export interface Watch extends View<Change> {
  /** Watch these, too. Waits for a link, however long. Rejects with `bad_name` or `watch_limit`, and then none of them is
   *  watched for it; those who were watched before stay. */
  add(users: string | Iterable<string>): Promise<void>;
  /** Watch these no longer. They are told no more, and have no record here. */
  remove(users: string | Iterable<string>): void;
}

export interface Channel extends View<MemberChange> {
  /** How many members are online, exactly: of a channel of more than 1,000 not all have a record here. */
  readonly total: number;
}

export interface Contacts extends View<Change> {
  /** Everybody in the list, and everybody who asks to see the user. */
  readonly list: ReadonlyMap<string, Contact>;
  on(event: "change", listener: (change: Change) => unknown): Off;
  on(event: "end", listener: (error: PresenceError | null) => unknown): Off;
  on(event: "list", listener: (change: ListChange) => unknown): Off;
}

/** How long what a call sets holds; without either it holds until it is changed. */
export interface Lasting {
  /** For so many milliseconds from now. */
  for?: number;
  /** Until this moment. */
  until?: Date | number;
}

export interface Presence {
  readonly state: State;
  /** Why there is no link; null while there is one, and after `close`. */
  readonly error: PresenceError | null;
  readonly user: string;
  /** The id of this device. In a browser it survives a reload and differs from tab to tab. */
  readonly device: string;
  /** The user's own status as others see it. */
  readonly status: Status;
  /** What only the user sees; null until it has come, and with `sync: false`. */
  readonly own: OwnState | null;
  /** The contacts, if they were asked for: `connect({ contacts: true })`. */
  readonly contacts: Contacts | undefined;
  /** The server's clock, in milliseconds since 1970: for "since" and "until", where a device's own clock is wrong. */
  readonly serverTimeMs: number;

  /** `status` is a change of the user's own record. A listener that throws stops nothing: its error goes to
   *  `reportError` or the console. */
  on(event: "state", listener: (event: { state: State; error: PresenceError | null }) => unknown): Off;
  on(event: "status", listener: (change: Change) => unknown): Off;
  on(event: "own", listener: (own: OwnState) => unknown): Off;

  /** Set the manual status for all of the user's devices, and the text with it if given. `auto` ends it, `offline` makes
   *  the user appear offline. null leaves the status as it is. */
  setStatus(status: Status | "auto" | null, more?: Lasting & { text?: string | null; emoji?: string | null }): Promise<void>;
  /** Set the text alone; an empty one clears it. */
  setText(text: string, more?: Lasting & { emoji?: string | null }): Promise<void>;
  /** What is on the screen: a channel, a user; "" is nothing. No notification about it is needed then. */
  setFocus(focus: string): void;
  /** The person's last input was so many milliseconds ago: 0 is now. In a browser that is noticed without it. The device
   *  of a program that never says so is never idle, and no notification to another device is silent for it. */
  idle(ms: number): void;
  getDevices(): Promise<DeviceInfo[]>;
  /** State a status for as long as something holds, such as a call: `addClaim("call-7", "call", "dnd")`. With `device`
   *  it ends when that device is gone. */
  addClaim(claim: string, source: ClaimSource, status: Status, more?: Lasting & { device?: string }): Promise<void>;
  endClaim(claim: string): Promise<void>;

  getStatus(user: string): Promise<PresenceRecord>;
  getStatuses(users: Iterable<string>): Promise<Map<string, PresenceRecord>>;
  /** A page of the users who are online. `next` is the `after` of the next page; "": this is the last. */
  who(query?: { after?: string; limit?: number }): Promise<{ total: number; next: string; records: PresenceRecord[] }>;
  /** Watch some users. `listener` is called with each change, the snapshots included. */
  watch(users: string | Iterable<string>, listener?: (change: Change) => unknown): Watch;

  /** Watch a channel; a channel that is watched already is the same object. To be in it is another thing: `join`. */
  channel(name: string, listener?: (change: MemberChange) => unknown): Channel;
  /** This device is in the channel until it leaves or is gone; kept over lost links. */
  join(channel: string): Promise<void>;
  leave(channel: string): Promise<void>;

  /** Ask to see somebody. */
  subscribe(user: string, note?: string): Promise<void>;
  /** Let somebody see the user. */
  approve(user: string): Promise<void>;
  /** Refuse what somebody asks, or let them see the user no longer. */
  cancel(user: string): Promise<void>;
  unsubscribe(user: string): Promise<void>;
  setContact(user: string, values?: { name?: string | null; groups?: readonly string[] | null }): Promise<void>;
  removeContact(user: string): Promise<void>;
  /** Neither of the two sees the other from now on. */
  block(user: string): Promise<void>;
  unblock(user: string): Promise<void>;
  getBlocked(): Promise<string[]>;

  /** Any other request of protocol.md: its type and its fields without the id. Returns the reply as it comes. If the
   *  link is lost before the reply, it is sent again on the next one. */
  request(type: number, ...fields: unknown[]): Promise<unknown[]>;

  /** Leave at once, without grace. A page that is only reloaded must not call it: within the grace time nobody notices
   *  the reload. Kept once the connection is closed. */
  close(): Promise<void>;
}

export interface Options {
  /** `wss://HOST/ws`, or a path of the page's own origin; in a browser `/ws` if left out. It holds no token: one with a
   *  query, a fragment or a user is refused. */
  url?: string;
  /** A token, or a function that gets one. The function is asked for each link, and before the end of a JSON Web Token,
   *  so that the link goes on. */
  token?: string | (() => string | Promise<string>);
  /** The user, in dev mode; else the token says it. */
  user?: string;
  /** The id of this device. Left out in a browser each tab has its own; in Node each client is a new device. */
  device?: string;
  /** What sort of device: `web` in a browser if left out. */
  kind?: string;
  /** The device's name for people. */
  name?: string;
  /** Negative: this device never makes the user available. */
  priority?: number;
  /** The device's own status. */
  status?: DeviceStatus;
  /** Watch the contacts without naming them. */
  contacts?: boolean;
  /** Whether this device shows the user's own state (`own`, `status`); true if left out. */
  sync?: boolean;
  /** What the application keeps with the device. */
  meta?: string | null;
  /** What is on the screen (`setFocus`). */
  focus?: string;
  /** Whether a browser's input tells how long the person has been idle; true if left out. */
  idle?: boolean;
  /** Go on if the first attempt fails for a reason that passes: `connect` returns at once, in the state `connecting`. */
  retry?: boolean;
  /** How many milliseconds an attempt to connect, a request and the token function may take; 10,000 if left out. */
  timeout?: number;
  /** The constructor of WebSockets, where the one of the environment will not do. */
  WebSocket?: new (url: string, protocols: string[]) => object;
}

/** Connect a device of a user. Rejects with a `PresenceError` if the first attempt fails (see `retry`); later the client
 *  comes back by itself after whatever passes, and tells only what has changed meanwhile. */
export function connect(options: Options & { contacts: true }): Promise<Presence & { readonly contacts: Contacts }>;
export function connect(options?: Options): Promise<Presence>;
