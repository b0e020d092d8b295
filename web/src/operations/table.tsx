// The table of desktops. Only the rows around those that are seen are in the page, however many there are.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

import type { Desktop } from "../shared/api.ts";
import { viewAddress } from "../shared/base.ts";
import { now } from "../shared/clock.ts";
import type { Usage } from "../shared/events.ts";
import { bytes, duration, relativeTime } from "../shared/format.ts";
import { language, t } from "../shared/i18n.ts";
import { Icon } from "../shared/icons.tsx";
import { progressText, StatusLine } from "../shared/status.tsx";
import { bornAt, columns, seen } from "./rows.ts";
import type { Column, Order } from "./rows.ts";

const numbers = new Set<Column>(["viewers", "cpu", "memory", "network", "age", "until"]);

export interface TableProps {
  desktops: Desktop[];
  usage: Readonly<Record<string, Usage>>;
  selected: ReadonlySet<string>;
  order: Order;
  onOrder: (column: Column) => void;
  onSelect: (uid: string, selected: boolean) => void;
  onSelectAll: (selected: boolean) => void;
  onDetails: (desktop: Desktop) => void;
}

export function Table(props: TableProps) {
  const { desktops, selected } = props;
  const body = useRef<HTMLTableSectionElement>(null);
  const range = useSignal<[number, number]>([0, 40]);
  const rowHeight = useSignal(52);

  useLayoutEffect(() => {
    const look = () => {
      if (!body.current) return;
      rowHeight.value = 3.25 * parseFloat(getComputedStyle(document.documentElement).fontSize);
      const top = -body.current.getBoundingClientRect().top;
      const [first, last] = seen(desktops.length, rowHeight.value, top, innerHeight);
      if (first !== range.value[0] || last !== range.value[1]) range.value = [first, last];
    };
    look();
    addEventListener("scroll", look, { passive: true });
    addEventListener("resize", look);
    return () => {
      removeEventListener("scroll", look);
      removeEventListener("resize", look);
    };
  }, [desktops.length]);

  const [first, last] = [Math.min(range.value[0], desktops.length), Math.min(range.value[1], desktops.length)];
  const shown = desktops.slice(first, last);
  const chosen = desktops.filter(({ uid }) => selected.has(uid)).length;
  return (
    <table class="desktops" aria-rowcount={desktops.length + 1}>
      <caption class="visually-hidden">{t("operations.table")}</caption>
      <thead>
        <tr>
          <th class="select">
            <input
              type="checkbox"
              aria-label={t("operations.select.all")}
              checked={chosen > 0 && chosen === desktops.length}
              ref={(box) => {
                if (box) box.indeterminate = chosen > 0 && chosen < desktops.length;
              }}
              onChange={({ currentTarget }) => props.onSelectAll(currentTarget.checked)}
            />
          </th>
          {columns.map((column) => (
            <th
              key={column}
              class={`of-${column} ${numbers.has(column) ? "number" : ""}`}
              aria-sort={props.order.column === column ? props.order.direction : "none"}
            >
              <button type="button" onClick={() => props.onOrder(column)}>
                {t(`column.${column}`)}
              </button>
            </th>
          ))}
          <th class="do">
            <span class="visually-hidden">{t("operations.actions")}</span>
          </th>
        </tr>
      </thead>
      <tbody ref={body} onKeyDown={moveByArrow}>
        {first > 0 && <Space rows={first} height={rowHeight.value} />}
        {shown.map((desktop, index) => (
          <Row
            key={desktop.uid}
            index={first + index + 2}
            desktop={desktop}
            usage={props.usage[desktop.uid]}
            selected={selected.has(desktop.uid)}
            onSelect={(on) => props.onSelect(desktop.uid, on)}
            onDetails={() => props.onDetails(desktop)}
          />
        ))}
        {last < desktops.length && <Space rows={desktops.length - last} height={rowHeight.value} />}
      </tbody>
    </table>
  );
}

/** The place of rows that are not in the page. */
const Space = ({ rows, height }: { rows: number; height: number }) => (
  <tr aria-hidden="true">
    <td class="space" style={{ height: `${rows * height}px` }} />
  </tr>
);

/** Up and down go to the same control of the next row. */
function moveByArrow(event: KeyboardEvent): void {
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key] as
    | "nextElementSibling"
    | "previousElementSibling"
    | undefined;
  if (!step || !(event.target instanceof Element)) return;
  const cell = event.target.closest("td");
  const row = cell?.parentElement?.[step];
  if (!cell || !(row instanceof HTMLTableRowElement)) return;
  const control = row.cells[cell.cellIndex]?.querySelector<HTMLElement>("input, a, button");
  if (!control) return;
  event.preventDefault();
  control.focus();
}

function Row(props: {
  index: number;
  desktop: Desktop;
  usage: Usage | undefined;
  selected: boolean;
  onSelect: (selected: boolean) => void;
  onDetails: () => void;
}) {
  const { desktop, usage } = props;
  const name = `${desktop.title} ${desktop.uid}`;
  const lang = language.value;
  const amount = (value: number | undefined) => (value === undefined ? <Nothing /> : bytes(value, lang));
  return (
    <tr aria-rowindex={props.index} class={props.selected ? "selected" : ""}>
      <td class="select">
        <input
          type="checkbox"
          aria-label={t("operations.select", { name })}
          checked={props.selected}
          onChange={({ currentTarget }) => props.onSelect(currentTarget.checked)}
        />
      </td>
      <th scope="row" class="of-desktop">
        <a href={viewAddress(desktop.uid)} title={t("operations.open", { name })}>
          {desktop.title}
        </a>
        <span class="hint">{desktop.uid}</span>
      </th>
      <td class="of-status">
        <StatusLine desktop={desktop} />
        {desktop.progress && <span class="hint">{progressText(desktop.progress)}</span>}
      </td>
      <td class="number of-viewers">{desktop.status === "ready" ? desktop.viewers : <Nothing />}</td>
      <td class="number of-cpu">
        {usage ? new Intl.NumberFormat(lang, { style: "percent" }).format(usage.cpu) : <Nothing />}
      </td>
      <td class="number of-memory">
        {amount(usage?.memory)}
        {usage?.memory_limit ? <Meter value={usage.memory} limit={usage.memory_limit} /> : null}
      </td>
      <td class="number of-network">
        {usage ? (
          <>
            <span>↓ {t("rate", { amount: bytes(usage.received, lang) })}</span>
            <span>↑ {t("rate", { amount: bytes(usage.sent, lang) })}</span>
          </>
        ) : (
          <Nothing />
        )}
      </td>
      <td class="number of-age">{duration((now.value - bornAt(desktop)) / 1000, lang)}</td>
      <td class="number of-until">{desktop.until ? relativeTime(desktop.until, now.value, lang, "narrow") : <Nothing />}</td>
      <td class="do">
        <button type="button" class="button quiet icon-only" aria-label={t("operations.details", { name })} title={t("details")} onClick={props.onDetails}>
          <Icon name="logs" />
        </button>
      </td>
    </tr>
  );
}

const Nothing = () => <span class="nothing">–</span>;

/** How much of its limit a desktop uses, for the eye; the number stands beside it. */
const Meter = ({ value, limit }: { value: number; limit: number }) => {
  const share = Math.min(1, value / limit);
  return (
    <span class={share > 0.9 ? "meter high" : "meter"} aria-hidden="true">
      <span style={{ scale: `${share} 1` }} />
    </span>
  );
};
