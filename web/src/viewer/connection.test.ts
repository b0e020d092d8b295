import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { begin, BLOCKED_AFTER, step, type Described, type Effect, type Event, type Machine, type Policy } from "./connection.ts";

const url = "/stream/11000/vnc";
const ready: Described = { status: "ready", url };
const asleep: Described = { status: "asleep" };
const usual: Policy = { autoconnect: undefined, reconnect: true, guest: false };
const guest: Policy = { ...usual, guest: true };

/** A machine that events are put into, with what it did last. */
class Trial {
  machine: Machine;
  effects: Effect[];

  constructor(policy: Policy = usual, at?: string) {
    [this.machine, this.effects] = begin(policy, at);
  }

  put(...events: Event[]): this {
    for (const event of events) [this.machine, this.effects] = step(this.machine, event);
    return this;
  }

  get state() {
    return this.machine.state;
  }

  get did() {
    return this.effects.map((effect) => effect.do).filter((name) => name !== "hurry");
  }
}

const described = (desktop: Described): Event => ({ type: "described", desktop });
const reported = (desktop: Described): Event => ({ type: "reported", desktop });
const closed = (code: number, reason = ""): Event => ({ type: "closed", code, reason });
const connected = (policy?: Policy) => new Trial(policy, url).put({ type: "opened" }, { type: "connected" });

describe("opening a viewer", () => {
  it("connects at once where its opener knows the address", () => {
    const trial = new Trial(usual, url);
    assert.deepEqual(trial.effects.at(-1), { do: "connect", url });
  });

  it("asks what the desktop is, and connects to one that runs without asking for it", () => {
    const trial = new Trial();
    assert.deepEqual(trial.did, ["look"]);
    trial.put(described(ready));
    assert.deepEqual(trial.effects.at(-1), { do: "connect", url });
    trial.put({ type: "opened" }, { type: "connected" });
    assert.deepEqual(trial.state, { name: "connected", url });
  });

  it("starts no desktop that sleeps, unless somebody says so", () => {
    const trial = new Trial().put(described(asleep));
    assert.deepEqual(trial.state, { name: "asleep", why: "asleep" });
    assert.deepEqual(trial.did, []);
    assert.deepEqual(trial.put({ type: "start" }).did, ["ensure"]);
    trial.put(reported({ status: "starting", progress: { step: "pulling", percent: 43 } }));
    assert.deepEqual(trial.state, { name: "starting", progress: { step: "pulling", percent: 43 } });
    assert.deepEqual(trial.put({ type: "ensured", url }).did, ["connect"]);
  });

  it("starts one that sleeps at once with autoconnect=true", () => {
    const trial = new Trial({ ...usual, autoconnect: true }).put(described(asleep));
    assert.deepEqual(trial.did, ["ensure"]);
  });

  it("waits for a click with autoconnect=false", () => {
    const trial = new Trial({ ...usual, autoconnect: false }).put(described(ready));
    assert.deepEqual(trial.state, { name: "offered" });
    assert.deepEqual(trial.put({ type: "start" }).did, ["ensure"]);
  });

  it("waits with a desktop that starts already, and asks once", () => {
    const trial = new Trial().put(described({ status: "starting", progress: { step: "queued" } }));
    assert.deepEqual(trial.state, { name: "starting", progress: { step: "queued" } });
    assert.deepEqual(trial.did, ["ensure"]);
    assert.deepEqual(trial.put({ type: "start" }, reported({ status: "starting" })).did, []);
    // The events may be faster than the call; its answer is the one that counts.
    assert.deepEqual(trial.put(reported(ready)).did, []);
    assert.deepEqual(trial.put({ type: "ensured", url }).did, ["connect"]);
  });

  it("says that a desktop is unknown", () => {
    assert.equal(new Trial().put({ type: "missing" }).state.name, "unknown");
    const trial = new Trial().put(described(asleep), { type: "start" });
    trial.put({ type: "refused", code: "unknown_desktop", details: "no such desktop", logs: undefined });
    assert.equal(trial.state.name, "unknown");
  });

  it("shows why a start failed, and can be told to try again", () => {
    const trial = new Trial().put(described(asleep), { type: "start" });
    trial.put({ type: "refused", code: "app_exited", details: "it ended", logs: "last line" });
    assert.deepEqual(trial.state, { name: "failed", details: "it ended", logs: "last line" });
    assert.deepEqual(trial.put({ type: "start" }).did, ["ensure"]);
    const before = new Trial().put(described({ status: "failed", failure: "no disk", failure_logs: "a" }));
    assert.deepEqual(before.state, { name: "failed", details: "no disk", logs: "a" });
  });

  it("goes on where somebody else started the desktop", () => {
    const trial = new Trial().put(described(asleep), reported({ status: "starting" }));
    assert.equal(trial.state.name, "starting");
    assert.deepEqual(trial.put(reported(ready)).did, ["connect"]);
  });
});

describe("losing the connection", () => {
  it("reconnects after a pause that grows, until there is a picture", () => {
    const trial = connected().put(closed(1006));
    assert.deepEqual(trial.state, { name: "lost", why: "network" });
    assert.deepEqual(trial.effects.at(-1), { do: "wait", attempt: 0 });
    assert.deepEqual(trial.put({ type: "again" }).did, ["look"]);
    assert.deepEqual(trial.put({ type: "unreachable" }).effects.at(-1), { do: "wait", attempt: 1 });
    trial.put({ type: "again" }, described(ready), { type: "opened" }, { type: "connected" });
    assert.deepEqual(trial.put(closed(1006)).effects.at(-1), { do: "wait", attempt: 0 });
  });

  it("looks at once when the browser is back", () => {
    assert.deepEqual(connected().put(closed(1006), { type: "wake" }).effects, [{ do: "hurry" }, { do: "look" }]);
    assert.deepEqual(connected().put({ type: "wake" }).effects, []);
  });

  it("waits for a service that restarts, also when that does not know yet what runs", () => {
    const trial = connected().put(closed(1012, "the service restarts; connect again in a moment"));
    assert.deepEqual(trial.state, { name: "lost", why: "restart" });
    trial.put({ type: "again" }, { type: "unreachable" });
    assert.deepEqual(trial.state, { name: "lost", why: "restart" });
    trial.put({ type: "again" }, described(asleep));
    assert.equal(trial.state.name, "lost");
    assert.deepEqual(trial.put({ type: "again" }, described(ready)).did, ["connect"]);
  });

  it("believes in the end that a desktop sleeps", () => {
    const trial = connected().put(closed(1006));
    for (let turn = 0; turn < 5 && trial.state.name === "lost"; turn++) trial.put({ type: "again" }, described(asleep));
    assert.deepEqual(trial.state, { name: "asleep", why: "asleep" });
  });

  for (const [reason, why] of [
    ["the desktop was stopped", "stopped"],
    ["the desktop was stopped because nobody looked at it", "idle"],
    ["the desktop reached its maximum age", "age"],
  ] as const) {
    it(`starts nothing by itself after '${reason}'`, () => {
      const trial = connected().put(closed(1001, reason));
      assert.deepEqual(trial.state, { name: "asleep", why });
      assert.deepEqual(trial.did, []);
      // What the service still says about its end changes nothing.
      assert.deepEqual(trial.put(reported({ status: "stopping" }), reported(asleep)).state, { name: "asleep", why });
      assert.deepEqual(trial.put({ type: "start" }).did, ["ensure"]);
    });
  }

  it("comes back with a desktop that ended by itself and is started again", () => {
    const trial = connected().put(closed(1001, "the desktop ended by itself"));
    assert.deepEqual(trial.state, { name: "lost", why: "exited" });
    assert.deepEqual(trial.put({ type: "again" }, described({ status: "restarting" })).did, ["ensure"]);
    assert.deepEqual(trial.put({ type: "ensured", url }).did, ["connect"]);
  });

  it("stays where it is with reconnect=false", () => {
    const trial = connected({ ...usual, reconnect: false }).put(closed(1006));
    assert.deepEqual(trial.state, { name: "offered" });
    assert.deepEqual(trial.did, []);
  });

  it("asks again when the answer to its wish was lost", () => {
    const trial = new Trial().put(described(asleep), { type: "start" }, { type: "unreachable" });
    assert.deepEqual(trial.did, ["wait"]);
    assert.deepEqual(trial.put({ type: "again" }, described({ status: "starting" })).did, ["ensure"]);
  });
});

describe("why a desktop sleeps", () => {
  for (const [ended, why] of [
    ["idle", "idle"],
    ["stopped", "stopped"],
    ["maximum_age", "age"],
    ["exited", "exited"],
  ] as const) {
    it(`is told as the service has it: ${ended}`, () => {
      assert.deepEqual(new Trial().put(described({ status: "asleep", ended })).state, { name: "asleep", why });
      const trial = new Trial().put(described(asleep), reported({ status: "starting" }), reported({ status: "asleep", ended }));
      assert.deepEqual(trial.state, { name: "asleep", why });
    });
  }
});

describe("coming by a share", () => {
  it("starts nothing, whoever wants it, and is there when somebody else did", () => {
    const trial = new Trial({ ...guest, autoconnect: true }).put(described(asleep));
    assert.deepEqual(trial.state, { name: "asleep", why: "asleep" });
    assert.deepEqual(trial.effects.at(-1), { do: "wait", attempt: 0 });
    assert.deepEqual(trial.put({ type: "again" }).did, ["look"]);
    assert.deepEqual(trial.put(described({ status: "failed" })).effects.at(-1), { do: "wait", attempt: 1 });
    assert.equal(trial.state.name, "asleep");
    assert.deepEqual(trial.put({ type: "start" }).did, ["look"]);
    // The gateway holds a socket until the desktop has started.
    assert.deepEqual(trial.put(described({ status: "starting", url })).did, ["connect"]);
  });

  it("waits after the desktop went to sleep, and through a service that is away", () => {
    const trial = connected(guest).put(closed(1001, "the desktop was stopped"));
    assert.deepEqual(trial.state, { name: "asleep", why: "stopped" });
    assert.deepEqual(trial.did, ["wait"]);
    assert.deepEqual(trial.put({ type: "wake" }, { type: "unreachable" }).state, { name: "lost", why: "network" });
    assert.deepEqual(trial.put({ type: "again" }, described(ready)).did, ["connect"]);
  });

  it("waits for a click where the address says so, and then connects", () => {
    const trial = new Trial({ ...guest, autoconnect: false }).put(described(ready));
    assert.deepEqual(trial.state, { name: "offered" });
    assert.deepEqual(trial.put({ type: "start" }).did, ["look"]);
    assert.deepEqual(trial.put(described(ready)).did, ["connect"]);
  });

  for (const [reason, why] of [
    ["the address you came by was withdrawn", "withdrawn"],
    ["the address you came by has expired", "expired"],
  ] as const) {
    it(`is over for good after '${reason}'`, () => {
      const trial = connected(guest).put(closed(1008, reason));
      assert.deepEqual(trial.state, { name: "over", why });
      assert.deepEqual(trial.did, []);
      for (const event of [{ type: "again" }, { type: "wake" }, { type: "start" }, { type: "missing" }, described(ready)] as Event[]) {
        assert.deepEqual(trial.put(event).effects, []);
        assert.deepEqual(trial.state, { name: "over", why });
      }
    });
  }

  it("is over where the service knows no such share, and not where it does not answer", () => {
    assert.deepEqual(new Trial(guest).put({ type: "unreachable" }).state, { name: "lost", why: "network" });
    assert.deepEqual(new Trial(guest).put({ type: "missing" }).state, { name: "over", why: "missing" });
  });

  it("connects again when it may only look on and its connection could have done more", () => {
    const trial = connected(guest).put(closed(1008, "you may only look on now, and this connection could still steer; connect again"));
    assert.deepEqual(trial.state, { name: "lost", why: "role" });
    assert.deepEqual(trial.put({ type: "again" }, described(ready)).did, ["connect"]);
  });
});

describe("a proxy that lets no WebSocket through", () => {
  it("is told apart from a service that is away", () => {
    const trial = new Trial().put(described(ready));
    for (let turn = 1; turn < BLOCKED_AFTER; turn++) {
      assert.equal(trial.put(closed(1006)).state.name, "lost");
      trial.put({ type: "again" }, described(ready));
    }
    assert.equal(trial.put(closed(1006)).state.name, "blocked");
    assert.deepEqual(trial.did, ["wait"]);
    // It goes on trying, and is over as soon as one gets through.
    trial.put({ type: "again" }, described(ready), { type: "opened" }, { type: "connected" });
    assert.equal(trial.state.name, "connected");
    assert.equal(trial.put(closed(1006)).state.name, "lost");
  });

  it("is not what happened when a socket was open and then broke", () => {
    const trial = new Trial().put(described(ready));
    for (let turn = 0; turn < 2 * BLOCKED_AFTER; turn++) {
      trial.put({ type: "opened" }, closed(1011, "the desktop cannot be reached"));
      assert.equal(trial.state.name, "lost");
      trial.put({ type: "again" }, described(ready));
    }
  });
});

describe("whatever comes in whatever order", () => {
  const events: Event[] = [
    described(ready),
    described(asleep),
    described({ status: "starting" }),
    described({ status: "failed", failure: "x" }),
    reported(ready),
    reported(asleep),
    reported({ status: "starting", progress: { step: "waiting" } }),
    { type: "missing" },
    { type: "unreachable" },
    { type: "start" },
    { type: "ensured", url },
    { type: "refused", code: "app_exited", details: "x", logs: undefined },
    { type: "opened" },
    { type: "connected" },
    closed(1006),
    closed(1001, "the desktop was stopped"),
    closed(1008, "the address you came by was withdrawn"),
    closed(1008, "you may only look on now"),
    closed(1012),
    { type: "again" },
    { type: "wake" },
  ];

  it("never opens a second socket, never asks twice at a time, and never waits for nothing", () => {
    let seed = 20260701;
    const random = (bound: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
      return (seed >>> 8) % bound;
    };
    for (let round = 0; round < 2000; round++) {
      const trial = new Trial(round % 2 ? guest : usual);
      for (let turn = 0; turn < 30; turn++) {
        const before = trial.machine;
        const event = events[random(events.length)] as Event;
        trial.put(event);
        const context = JSON.stringify({ before, event, after: trial.machine, effects: trial.effects });
        if (trial.did.includes("connect")) {
          assert.ok(before.state.name !== "connecting" && before.state.name !== "connected", context);
          assert.equal(trial.state.name, "connecting", context);
        }
        if (trial.did.includes("ensure")) assert.ok(!before.asking && trial.machine.asking && !before.policy.guest, context);
        if (["connecting", "connected"].includes(before.state.name) && event.type !== "closed")
          assert.ok(["connecting", "connected"].includes(trial.state.name), context);
        if ((trial.state.name === "lost" || trial.state.name === "blocked") && before.state.name !== trial.state.name)
          assert.ok(trial.did.includes("wait"), context);
      }
    }
  });
});
