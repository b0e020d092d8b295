// The operations page: all desktops at a glance, as they are now.
import { computed, signal } from "@preact/signals";
import { render } from "preact";

import "../shared/theme.css";
import "./operations.css";
import { ApiError, catalog, stop } from "../shared/api.ts";
import type { App, Desktop } from "../shared/api.ts";
import { Confirmation } from "../shared/dialog.tsx";
import { Desktops } from "../shared/desktops.ts";
import { t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { Page } from "../shared/page.tsx";
import { DesktopPages } from "../shared/pages.ts";
import { inOrder, isActive } from "../shared/selection.ts";
import { toast } from "../shared/toast.tsx";
import { Details } from "./details.tsx";
import { needsPages, rows } from "./rows.ts";
import type { Column, Filter, Order } from "./rows.ts";
import { Table } from "./table.tsx";

/** A browser opens six connections to a host, and one of them carries the events. */
const atOnce = 4;

const filters: Filter["status"][] = ["all", "active", "ready", "starting", "failed", "asleep"];

const desktops = new Desktops({ usage: true });
const pages = new DesktopPages(desktops);
const apps = signal<App[]>([]);
const filter = signal<Filter>({ text: "", app: "", status: "all" });
const order = signal<Order>({ column: "status", direction: "ascending" });
const selected = signal<ReadonlySet<string>>(new Set());
const detailsOf = signal<string | undefined>(undefined);
const ending = signal<{ uids: string[]; forget: boolean } | undefined>(undefined);

const shown = computed(() => {
  const known = inOrder(desktops.all.value ?? new Map(), desktops.changed, pages.uids.value ?? [], filter.value.text);
  return rows(known, desktops.usage.value, filter.value, order.value);
});

/** Those that are selected and still there; a filter hides them, it does not let go of them. */
const chosen = computed(() => [...selected.value].flatMap((uid) => desktops.all.value?.get(uid) ?? []));

function change(part: Partial<Filter>): void {
  filter.value = { ...filter.value, ...part };
  const { text, app, status } = filter.value;
  if (!needsPages(filter.value)) return;
  pages.search({ text, app: app || undefined, status: status === "all" ? undefined : status });
}

async function readApps(): Promise<void> {
  try {
    apps.value = await catalog();
  } catch (error) {
    // Without it, there is only nothing to choose an app from.
    if (!(error instanceof ApiError)) throw error;
  }
}

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
  const awake = chosen.value.filter(isActive);
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
              maxLength={128}
              onInput={({ currentTarget }) => change({ text: currentTarget.value })}
            />
          </label>
          <select
            class="input"
            aria-label={t("column.status")}
            value={filter.value.status}
            onChange={({ currentTarget }) => change({ status: currentTarget.value as Filter["status"] })}
          >
            {filters.map((status) => (
              <option key={status} value={status}>
                {status === "all" || status === "active" ? t(`operations.${status}`) : t(`status.${status}`)}
              </option>
            ))}
          </select>
          {apps.value.length > 1 && (
            <select
              class="input"
              aria-label={t("details.app")}
              value={filter.value.app}
              onChange={({ currentTarget }) => change({ app: currentTarget.value })}
            >
              <option value="">{t("operations.apps")}</option>
              {apps.value.map(({ name, title }) => (
                <option key={name} value={name}>
                  {title}
                </option>
              ))}
            </select>
          )}
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
  const hasPages = needsPages(filter.value);
  const known = desktops.all.value !== undefined && (!hasPages || pages.uids.value !== undefined);
  const isReading = hasPages && pages.isReading.value;
  const hasMore = hasPages && pages.hasMore.value;
  const isFiltered = filter.value.text !== "" || filter.value.app !== "" || filter.value.status !== "all";
  const none = known && !isReading && shown.value.length === 0;
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
        <p class="none">{t(isFiltered ? "operations.none.like" : "operations.none")}</p>
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
      {known && (
        <div class="more">
          <p class="summary" role="status">
            {!isReading && t("shown", { n: shown.value.length })}
          </p>
          {hasMore && (
            <button type="button" class="button" aria-disabled={isReading} onClick={() => void pages.more()}>
              {t("more")}
            </button>
          )}
        </div>
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

void readApps();
render(<Operations />, document.body);
