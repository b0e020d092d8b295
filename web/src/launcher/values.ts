// From what somebody types into a form to the environment of a desktop, checked as the service checks it.
import type { Environment, Variable } from "../shared/api.ts";

/** What a form holds for one variable: a list has one text for each row. */
export type Raw = string | boolean | string[];

export type Problem =
  | { key: "option.required" | "option.integer" | "option.url" | "option.host" }
  | { key: "option.range"; values: { min: number; max: number } };

/** A client of the old service sends it to every app, for itself; people have nothing to say there. */
const forPrograms = new Set(["CALLBACK_ID"]);

/** Whether somebody has to say it. */
export const isNeeded = (variable: Variable): boolean => variable.required && variable.default === null;

/** What the browser says of the person in front of it. */
const isOwn = ({ type }: Variable): boolean => type === "timezone" || type === "language";

/** The variables that a form asks for, by name: what is needed comes first. */
export const asked = (env: Record<string, Variable>): [string, Variable][] =>
  Object.entries(env)
    .filter(([name, variable]) => !(forPrograms.has(name) || isOwn(variable)) || isNeeded(variable))
    .sort(([, one], [, other]) => Number(isNeeded(other)) - Number(isNeeded(one)));

/** Where and in which languages somebody works, the most wanted one first. */
export interface Surroundings {
  timezone: string;
  languages: readonly string[];
}

/** Languages of which one is taken for another, as the service does (`crates/cosage/src/catalog/locale.rs`). */
const relatives = [["nb", "no", "nn"], ["he", "iw"], ["id", "in"], ["yi", "ji"]];

/**
 * The time zone and the language of whoever starts a desktop, for an app that takes them. A language that the app does not
 * have is left out, which would only be refused.
 */
export function ofCaller(env: Record<string, Variable>, { timezone, languages }: Surroundings): Environment {
  const result: Environment = {};
  for (const [name, variable] of Object.entries(env)) {
    if (variable.type === "timezone" && timezone) result[name] = timezone;
    if (variable.type === "language") {
      const known = new Set(variable.options.map((option) => option.split("_")[0]));
      const language = languages.find((language) => {
        const own = language.split("-")[0]!.toLowerCase();
        return (relatives.find((group) => group.includes(own)) ?? [own]).some((one) => known.has(one));
      });
      if (language) result[name] = language;
    }
  }
  return result;
}

/** What a form holds at first. */
export function initial(variable: Variable): Raw {
  const preset = variable.default ?? "";
  switch (variable.type) {
    case "boolean":
      return preset === "true";
    case "urls":
      return preset ? (JSON.parse(preset) as string[]) : [""];
    default:
      return preset;
  }
}

const scheme = /^[a-z][a-z0-9+.-]*:/i;
const url = /^(https?:\/\/[^/?#\s]\S*|about:\S+)$/i;
const label = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/i;

/** An address as people write it: `example.org` is `https://example.org`. A port is no scheme. */
export function completeUrl(text: string): string {
  const trimmed = text.trim();
  if (!trimmed || (scheme.test(trimmed) && !/^[^/]*:\d/.test(trimmed))) return trimmed;
  return `https://${trimmed}`;
}

const isHost = (text: string): boolean =>
  // Whatever has a colon is meant as an address of IPv6; the service looks closer.
  /^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(text) || (text.length <= 253 && text.split(".").every((part) => label.test(part)));

/** What is wrong with what a form holds, if anything. */
export function check(variable: Variable, raw: Raw): Problem | undefined {
  if (typeof raw === "boolean") return undefined;
  const texts = (Array.isArray(raw) ? raw : [raw]).map((text) => text.trim()).filter(Boolean);
  if (!texts.length) return isNeeded(variable) ? { key: "option.required" } : undefined;
  const text = texts[0]!;
  switch (variable.type) {
    case "integer": {
      if (!/^[+-]?\d+$/.test(text)) return { key: "option.integer" };
      const { min, max } = variable;
      return Number(text) < min || Number(text) > max ? { key: "option.range", values: { min, max } } : undefined;
    }
    case "url":
    case "urls":
      return texts.every((text) => url.test(completeUrl(text))) ? undefined : { key: "option.url" };
    case "host":
      return isHost(text) ? undefined : { key: "option.host" };
    default:
      return undefined;
  }
}

/** The environment for what a form holds. What is empty or the default is left out: then the app's default counts. */
export function environment(variables: [string, Variable][], raw: Record<string, Raw>): Environment {
  const result: Environment = {};
  for (const [name, variable] of variables) {
    const value = raw[name];
    if (value === undefined || JSON.stringify(value) === JSON.stringify(initial(variable))) continue;
    if (Array.isArray(value)) {
      const urls = value.map(completeUrl).filter(Boolean);
      if (urls.length) result[name] = urls;
    } else if (typeof value === "boolean") {
      result[name] = value;
    } else if (variable.type === "text") {
      if (value) result[name] = value;
    } else if (value.trim()) {
      if (variable.type === "integer") result[name] = Number(value);
      else result[name] = variable.type === "url" ? completeUrl(value) : value.trim();
    }
  }
  return result;
}

/**
 * The service's complaints about an environment, by variable: `the app 'x' does not take this env: NAME must be …;
 * OTHER is required; …`. What is about none of `names` comes under the empty name.
 */
export function complaints(details: string, names: string[]): Record<string, string> {
  const found: Record<string, string> = {};
  const list = details.replace(/^the app '[^']*' does not take this env: /, "");
  let about = "";
  for (const complaint of list.split("; ")) {
    const name = names.find((name) => complaint.startsWith(`${name} `));
    // `A is required; it must be …` is one complaint, and `it has … bytes` one about everything.
    const goesOn = name === undefined && complaint.startsWith("it ") && !complaint.startsWith("it has ");
    if (!goesOn) about = name ?? "";
    const text = name ? complaint.slice(name.length + 1) : complaint;
    found[about] = found[about] ? `${found[about]}; ${text}` : text;
  }
  return found;
}
