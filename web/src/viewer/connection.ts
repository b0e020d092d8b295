// The life of the viewer's connection as a pure state machine: machine + event → machine + effects.
//
//            described ready          opened, connected
//   looking ────────────────▶ connecting ─────────────▶ connected
//      │ ▲                      ▲   │                      │
//      │ │ again, wake, retry   │   │ closed               │ closed
//      │ └──────── lost ◀───────┼───┘◀─────────────────────┤ service or network
//      │          (blocked)     │                          │ stopped, idle, too old
//      │ asleep, failed         │ ensured                  ▼
//      └─────▶ asleep, failed ──┴── starting ◀── start ── asleep
//
// Whoever came by a share can start nothing: asleep looks again by itself, and a share that has ended leads to `over`, for good.
//
// There is no clock and no network in here: `viewer.ts` performs the effects and reports what came of them.

/** Where a start is; the words are the API's. */
export interface Progress {
  step: "queued" | "pulling" | "starting" | "waiting";
  /** 0 to 100, of what is being pulled, where it is known. */
  percent?: number;
}

/** What the machine reads of the API's description of a desktop. */
export interface Described {
  status: "asleep" | "starting" | "ready" | "stopping" | "restarting" | "failed";
  url?: string;
  progress?: Progress;
  ended?: Ended;
  failure?: string;
  failure_logs?: string;
}

/** Why what ran of a desktop ended; the words are the API's. */
export type Ended = "idle" | "stopped" | "maximum_age" | "exited";

/** Why nothing of a desktop runs, as far as that is known. */
export type Rest = "asleep" | "stopped" | "idle" | "age" | "exited";

/** What took the connection away. */
export type Loss = "network" | "restart" | "exited" | "role";

/** Why a share leads nowhere any more; `missing` is one that the service does not know. */
export type Over = "withdrawn" | "expired" | "missing";

export type State =
  /** The service is being asked what the desktop is. */
  | { name: "looking" }
  /** It runs, and waits for a click. */
  | { name: "offered" }
  | { name: "starting"; progress: Progress | undefined }
  | { name: "connecting"; url: string; open: boolean }
  | { name: "connected"; url: string }
  /** A timer runs, or the service is being asked, to connect again. */
  | { name: "lost"; why: Loss }
  /** As `lost`; HTTP gets through and WebSockets do not. */
  | { name: "blocked" }
  | { name: "asleep"; why: Rest }
  | { name: "failed"; details: string; logs: string | undefined }
  /** There is no such desktop. */
  | { name: "unknown" }
  /** The share by which this page came has ended. */
  | { name: "over"; why: Over };

export type Event =
  | { type: "described"; desktop: Described }
  | { type: "missing" }
  | { type: "unreachable" }
  /** Somebody wants it: start it if it sleeps, and connect. */
  | { type: "start" }
  | { type: "ensured"; url: string }
  | { type: "refused"; code: string; details: string; logs: string | undefined }
  /** The WebSocket is open; the picture is not there yet. */
  | { type: "opened" }
  | { type: "connected" }
  | { type: "closed"; code: number; reason: string }
  /** The timer ran out. */
  | { type: "again" }
  /** The browser is online again, or the page is looked at again, or somebody does not want to wait. */
  | { type: "wake" }
  /** The service's events say so. */
  | { type: "reported"; desktop: Described };

export type Effect =
  /** Ask what the desktop is; `described`, `missing` or `unreachable` follows. */
  | { do: "look" }
  /** Ask for the desktop to run; `ensured`, `refused` or `unreachable` follows. */
  | { do: "ensure" }
  | { do: "connect"; url: string }
  /** `again` follows, once attempt number `attempt`, from 0, is due. */
  | { do: "wait"; attempt: number }
  /** The timer counts no more. */
  | { do: "hurry" };

export interface Policy {
  /** As the query's: `true` also starts one that sleeps at first, `false` waits for a click. */
  autoconnect: boolean | undefined;
  reconnect: boolean;
  /** Whether this page came by a share, which starts nothing. */
  guest: boolean;
}

export interface Machine {
  state: State;
  policy: Policy;
  /** Attempts to reconnect since there was a picture. */
  attempts: number;
  /** Sockets in a row that closed before they were open. */
  unopened: number;
  /** Whether an `ensure` is under way. */
  asking: boolean;
}

/** So many sockets in a row that never opened, while the service answered, are no accident. */
export const BLOCKED_AFTER = 3;

/** A service that has just started may not know yet what runs: so many times it is not believed that a desktop sleeps. */
const DOUBTS = 3;

/** Close codes of RFC 6455, 7.4.1, and its registry. */
const GOING_AWAY = 1001;
const POLICY = 1008;
const SERVICE_RESTART = 1012;

type Step = [Machine, Effect[]];

/** A machine, and what it does first. `url` is where the desktop answers, when the page that led here knows. */
export function begin(policy: Policy, url?: string): Step {
  const machine: Machine = { state: { name: "looking" }, policy, attempts: 0, unopened: 0, asking: false };
  return url === undefined ? [machine, [{ do: "look" }]] : connect(machine, url);
}

export function step(machine: Machine, event: Event): Step {
  const { state } = machine;
  switch (event.type) {
    case "described":
      return awaits(machine) ? described(machine, event.desktop) : stay(machine);
    case "reported":
      return reported(machine, event.desktop);
    case "missing":
      if (held(state) || state.name === "over") return stay(machine);
      return rest({ ...machine, asking: false }, machine.policy.guest ? { name: "over", why: "missing" } : { name: "unknown" });
    case "unreachable":
      if (machine.asking) return lose({ ...machine, asking: false }, "network");
      return awaits(machine) ? lose(machine, state.name === "lost" ? state.why : "network") : stay(machine);
    case "start":
      return start(machine);
    case "ensured":
      return machine.asking ? connect({ ...machine, asking: false }, event.url) : stay(machine);
    case "refused":
      return machine.asking ? refused({ ...machine, asking: false }, event) : stay(machine);
    case "opened":
      return state.name === "connecting"
        ? [{ ...machine, state: { ...state, open: true }, unopened: 0 }, []]
        : stay(machine);
    case "connected":
      return state.name === "connecting"
        ? [{ ...machine, state: { name: "connected", url: state.url }, attempts: 0 }, []]
        : stay(machine);
    case "closed":
      return held(state) ? closed(machine, event) : stay(machine);
    case "again":
      return waits(machine) ? [machine, [{ do: "look" }]] : stay(machine);
    case "wake":
      return waits(machine) ? [machine, [{ do: "hurry" }, { do: "look" }]] : stay(machine);
  }
}

/** Whether a timer runs until the next look. */
function waits({ state, policy }: Machine): boolean {
  return state.name === "lost" || state.name === "blocked" || (state.name === "asleep" && policy.guest);
}

/** Whether the answer to a look is wanted. */
function awaits(machine: Machine): boolean {
  return machine.state.name === "looking" || waits(machine);
}

/** Whether there is a socket. */
function held(state: State): boolean {
  return state.name === "connecting" || state.name === "connected";
}

function stay(machine: Machine): Step {
  return [machine, []];
}

/** To a state in which nothing happens until somebody wants something. */
function rest(machine: Machine, state: State): Step {
  return [{ ...machine, state, attempts: 0, unopened: 0 }, [{ do: "hurry" }]];
}

function start(machine: Machine): Step {
  if (machine.asking || held(machine.state) || machine.state.name === "over") return stay(machine);
  if (machine.policy.guest) {
    const policy = { ...machine.policy, autoconnect: true };
    return [{ ...machine, policy, state: { name: "looking" }, attempts: 0, unopened: 0 }, [{ do: "hurry" }, { do: "look" }]];
  }
  const state: State = { name: "starting", progress: undefined };
  return [{ ...machine, state, attempts: 0, unopened: 0, asking: true }, [{ do: "hurry" }, { do: "ensure" }]];
}

function connect(machine: Machine, url: string): Step {
  return [{ ...machine, state: { name: "connecting", url, open: false } }, [{ do: "hurry" }, { do: "connect", url }]];
}

function lose(machine: Machine, why: Loss): Step {
  if (!machine.policy.reconnect) return rest(machine, { name: "offered" });
  const state: State = machine.unopened >= BLOCKED_AFTER ? { name: "blocked" } : { name: "lost", why };
  const { attempts } = machine;
  return [{ ...machine, state, attempts: attempts + 1 }, [{ do: "hurry" }, { do: "wait", attempt: attempts }]];
}

/** The answer to the question what the desktop is. */
function described(machine: Machine, desktop: Described): Step {
  const { state, policy } = machine;
  const first = state.name === "looking";
  if (policy.guest) return shared(machine, desktop);
  switch (desktop.status) {
    case "ready":
      if (first && policy.autoconnect === false) return rest(machine, { name: "offered" });
      return desktop.url === undefined ? lose(machine, "network") : connect(machine, desktop.url);
    case "starting":
    case "restarting":
      return starting(machine, desktop);
    case "asleep":
    case "stopping":
      if (first && policy.autoconnect === true) return start(machine);
      return sleep(machine, desktop);
    case "failed":
      return failed(machine, desktop);
  }
}

const rests: Record<Ended, Rest> = { idle: "idle", stopped: "stopped", maximum_age: "age", exited: "exited" };

/** The same for whoever came by a share. Also one that starts has an address: the gateway holds a socket until it has started. */
function shared(machine: Machine, desktop: Described): Step {
  if (desktop.url === undefined) return sleep(machine, desktop);
  if (machine.state.name === "looking" && machine.policy.autoconnect === false) return rest(machine, { name: "offered" });
  return connect(machine, desktop.url);
}

/** Nothing of it runs, as the service says. */
function sleep(machine: Machine, { ended }: Described): Step {
  const { state, attempts } = machine;
  if (state.name === "lost" && state.why !== "exited" && attempts < DOUBTS) return lose(machine, state.why);
  return settle(machine, { name: "asleep", why: ended === undefined ? "asleep" : rests[ended] });
}

/** Who cannot start it waits for somebody who does. */
function settle(machine: Machine, state: State): Step {
  const { attempts, policy } = machine;
  if (!policy.guest) return rest(machine, state);
  return [{ ...machine, state, attempts: attempts + 1, unopened: 0 }, [{ do: "hurry" }, { do: "wait", attempt: attempts }]];
}

/** What the service says without being asked. */
function reported(machine: Machine, desktop: Described): Step {
  const { state } = machine;
  if (machine.policy.guest) return stay(machine);
  switch (state.name) {
    // What is asked for or connected hears from its own call or socket; what is given up is given up.
    case "connecting":
    case "connected":
    case "looking":
    case "offered":
    case "over":
      return stay(machine);
    case "unknown":
    case "asleep":
    case "failed":
    case "starting":
      break;
    case "lost":
    case "blocked":
      return desktop.status === "ready" && state.name === "lost" ? [machine, [{ do: "hurry" }, { do: "look" }]] : stay(machine);
  }
  switch (desktop.status) {
    case "ready":
      // Somebody else may have started it: this page shows the same desktop.
      return machine.asking || desktop.url === undefined ? stay(machine) : connect(machine, desktop.url);
    case "starting":
    case "restarting":
      return [{ ...machine, state: { name: "starting", progress: desktop.progress } }, []];
    case "failed":
      return machine.asking ? stay(machine) : failed(machine, desktop);
    case "asleep":
    case "stopping":
      return machine.asking || state.name !== "starting" ? stay(machine) : sleep(machine, desktop);
  }
}

/** It starts already; asking for it as well is how this page hears when it is there. */
function starting(machine: Machine, desktop: Described): Step {
  const state: State = { name: "starting", progress: desktop.progress };
  return machine.asking
    ? [{ ...machine, state }, []]
    : [{ ...machine, state, asking: true }, [{ do: "hurry" }, { do: "ensure" }]];
}

function failed(machine: Machine, desktop: Described): Step {
  return rest(machine, { name: "failed", details: desktop.failure ?? "", logs: desktop.failure_logs });
}

function refused(machine: Machine, { code, details, logs }: Event & { type: "refused" }): Step {
  if (code === "unknown_desktop" || code === "invalid_uid") return rest(machine, { name: "unknown" });
  if (code === "stopped") return rest(machine, { name: "asleep", why: "stopped" });
  if (code === "shutting_down") return lose(machine, "restart");
  return rest(machine, { name: "failed", details, logs });
}

/** Why the gateway says that it closed (`gateway/ending.rs`). */
function closed(machine: Machine, { code, reason }: Event & { type: "closed" }): Step {
  const { state } = machine;
  const unopened = state.name === "connecting" && !state.open;
  if (code === GOING_AWAY) {
    if (reason.includes("was stopped because")) return settle(machine, { name: "asleep", why: "idle" });
    if (reason.includes("was stopped")) return settle(machine, { name: "asleep", why: "stopped" });
    if (reason.includes("maximum age")) return settle(machine, { name: "asleep", why: "age" });
    if (reason.includes("ended by itself")) return lose(machine, "exited");
  }
  if (code === POLICY) {
    if (reason.includes("was withdrawn")) return rest(machine, { name: "over", why: "withdrawn" });
    if (reason.includes("has expired")) return rest(machine, { name: "over", why: "expired" });
    if (reason.includes("may only look on")) return lose(machine, "role");
  }
  if (code === SERVICE_RESTART) return lose(machine, "restart");
  return lose({ ...machine, unopened: unopened ? machine.unopened + 1 : 0 }, "network");
}
