// Numbers and times as people read them.

const spans: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** "3 minutes ago", "in 12 seconds". `narrow` is for tables. */
export function relativeTime(when: string, now: number, language: string, style: "long" | "narrow" = "long"): string {
  const seconds = Math.round((Date.parse(when) - now) / 1000);
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style });
  for (const [unit, length] of spans) {
    if (Math.abs(seconds) >= length) return format.format(Math.trunc(seconds / length), unit);
  }
  return format.format(seconds, "second");
}

/** "2 h 5 min", "43 s": the two largest parts. */
export function duration(seconds: number, language: string): string {
  const whole = Math.max(0, Math.round(seconds));
  const part = (value: number, unit: string) =>
    new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "narrow" }).format(value);
  const days = Math.trunc(whole / 86_400);
  const hours = Math.trunc(whole / 3_600) % 24;
  const minutes = Math.trunc(whole / 60) % 60;
  if (days) return `${part(days, "day")} ${part(hours, "hour")}`;
  if (hours) return `${part(hours, "hour")} ${part(minutes, "minute")}`;
  if (minutes) return whole < 600 ? `${part(minutes, "minute")} ${part(whole % 60, "second")}` : part(minutes, "minute");
  return part(whole, "second");
}

const units = ["B", "KiB", "MiB", "GiB", "TiB"];

/** "1.2 GiB"; three digits at most. */
export function bytes(value: number, language: string): string {
  let amount = value;
  let unit = 0;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || amount >= 10 ? 0 : 1;
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(amount)} ${units[unit]}`;
}
