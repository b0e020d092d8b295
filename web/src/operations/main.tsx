// The operations page: all desktops at a glance, as they are now.
import { computed, signal } from "@preact/signals";
import { render } from "preact";

import "../shared/theme.css";
import "./operations.css";
import { ApiError, stop } from "../shared/api.ts";
import type { Desktop } from "../shared/api.ts";
import { Confirmation } from "../shared/dialog.tsx";
import { Desktops } from "../shared/desktops.ts";
import { t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { Page } from "../shared/page.tsx";
import { toast } from "../shared/toast.tsx";
import { Details } from "./details.tsx";
import { rows } from "./rows.ts";
import type { Column, Filter, Order } from "./rows.ts";
import { Table } from "./table.tsx";

/** A browser opens six connections to a host, and one of them carries the events. */
const atOnce = 4;

const filters: Filter["status"][] = ["all", "awake", "ready", "starting", "failed", "asleep"];

const desktops = new Desktops({ usage: true });
const filter = signal<Filter>({ text: "", status: "all" });
const order = signal<Order>({ column: "status", direction: "ascending" });
const selected = signal<ReadonlySet<string>>(new Set());
const detailsOf = signal<string | undefined>(undefined);
const ending = signal<{ uids: string[]; forget: boolean } | undefined>(undefined);

const shown = computed(() => rows(desktops.all.value?.values() ?? [], desktops.usage.value, filter.value, order.value));

/** Those that are selected and still there; a filter hides them, it does not let go of them. */
const chosen = computed(() => [...selected.value].flatMap((uid) => desktops.all.value?.get(uid) ?? []));

const isAwake = ({ status }: Desktop): boolean => status !== "asleep" && status !== "failed";

function orderBy(column: Column): void {
  const same = order.value.column === column;
  // A second click turns the order round; of amounts the largest are looked for first.
  const first = ["cpu", "memory", "network", "viewers"].includes(column) ? "descending" : "ascending";
  const turned = order.value.direction === "ascending" ? "descending" : "ascending";
  order.value = { column, direction: same ? turned : first };
}

function select(uids: string[], on: boolean): void {
  const next = new Set(selected.value);
  for (const uid of uids) {
    if (on) next.add(uid);
    else next.delete(uid);
  }
  selected.value = next;
}

async function end(uids: string[], forget: boolean): Promise<void> {
  const queue = [...uids];
  const failures: string[] = [];
  const worker = async () => {
    for (let uid = queue.shift(); uid !== undefined; uid = queue.shift()) {
      try {
        await stop(uid, { forget });
        select([uid], false);
      } catch (error) {
        failures.push(error instanceof ApiError ? error.message : String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const done = uids.length - failures.length;
  if (done) toast(t(forget ? "operations.deleted" : "operations.stopped", { n: done }));
  if (failures.length) toast(t("operations.failures", { n: failures.length, details: failures[0]! }), "bad");
}

function Summary() {
  const all = [...(desktops.all.value?.values() ?? [])];
  const usage = Object.values(desktops.usage.value);
  const cores = usage.reduce((sum, { cpu }) => sum + cpu, 0);
  const facts = [
    t("operations.count", { n: all.length }),
    t("operations.running", { n: all.filter(({ status }) => status === "ready").length }),
    t("operations.viewers", { n: all.reduce((sum, { viewers }) => sum + viewers, 0) }),
    ...(usage.length ? [t("operations.cores", { cores: Math.round(cores * 100) / 100 })] : []),
  ];
  return (
    <p class="summary">
      {facts.map((fact) => (
        <span key={fact}>{fact}</span>
      ))}
    </p>
  );
}

function Tools() {
  const awake = chosen.value.filter(isAwake);
  return (
    <div class="tools">
      {chosen.value.length === 0 ? (
        <>
          <label class="search">
            <Icon name="search" />
            <input
              class="input"
              type="search"
              aria-label={t("operations.filter")}
              placeholder={t("operations.filter")}
              value={filter.value.text}
              onInput={({ currentTarget }) => (filter.value = { ...filter.value, text: currentTarget.value })}
            />
          </label>
          <select
            class="input"
            aria-label={t("column.status")}
            value={filter.value.status}
            onChange={({ currentTarget }) => (filter.value = { ...filter.value, status: currentTarget.value as Filter["status"] })}
          >
            {filters.map((status) => (
              <option key={status} value={status}>
                {status === "all" || status === "awake" ? t(`operations.${status}`) : t(`status.${status}`)}
              </option>
            ))}
          </select>
        </>
      ) : (
        <>
          <strong>{t("operations.selected", { n: chosen.value.length })}</strong>
          <button
            type="button"
            class="button"
            disabled={!awake.length}
            onClick={() => (ending.value = { uids: awake.map(({ uid }) => uid), forget: false })}
          >
            <Icon name="stop" /> {t("stop")}
          </button>
          <button
            type="button"
            class="button"
            onClick={() => (ending.value = { uids: chosen.value.map(({ uid }) => uid), forget: true })}
          >
            <Icon name="remove" /> {t("delete")}
          </button>
          <button type="button" class="button quiet" onClick={() => (selected.value = new Set())}>
            {t("operations.select.none")}
          </button>
        </>
      )}
    </div>
  );
}

function Ending() {
  if (!ending.value) return null;
  const { uids, forget } = ending.value;
  const viewers = uids.reduce((sum, uid) => sum + (desktops.all.value?.get(uid)?.viewers ?? 0), 0);
  const text = [
    t(forget ? "operations.delete.text" : "operations.stop.text"),
    viewers > 0 ? t("operations.end.viewers", { n: viewers }) : "",
  ];
  return (
    <Confirmation
      title={t(forget ? "operations.delete.title" : "operations.stop.title", { n: uids.length })}
      text={text.join(" ")}
      action={t(forget ? "delete" : "stop")}
      onClose={() => (ending.value = undefined)}
      onConfirm={() => void end(uids, forget)}
    />
  );
}

function Operations() {
  const details = detailsOf.value === undefined ? undefined : desktops.all.value?.get(detailsOf.value);
  const closeDetails = () => {
    detailsOf.value = undefined;
  };
  const endOne = (desktop: Desktop, forget: boolean) => {
    closeDetails();
    ending.value = { uids: [desktop.uid], forget };
  };
  const known = desktops.all.value !== undefined;
  const none = known && shown.value.length === 0;
  return (
    <Page current="operations" connected={desktops.connected.value}>
      <div class="top">
        <div>
          <h1>{t("operations")}</h1>
          <Summary />
        </div>
        <Tools />
      </div>
      {desktops.problem.value && (
        <p class="problem" role="alert">
          {t("unreachable", { details: desktops.problem.value.message })}
        </p>
      )}
      {none ? (
        <p class="none">{t(desktops.all.value?.size ? "operations.none.like" : "operations.none")}</p>
      ) : !known ? null : (
        <Table
          desktops={shown.value}
          usage={desktops.usage.value}
          selected={selected.value}
          order={order.value}
          onOrder={orderBy}
          onSelect={(uid, on) => select([uid], on)}
          onSelectAll={(on) => select(shown.value.map(({ uid }) => uid), on)}
          onDetails={({ uid }) => (detailsOf.value = uid)}
        />
      )}
      {details && (
        <Details
          desktop={details}
          onStop={() => endOne(details, false)}
          onDelete={() => endOne(details, true)}
          onClose={closeDetails}
        />
      )}
      <Ending />
    </Page>
  );
}

render(<Operations />, document.body);
