// How a text of the message file becomes a sentence: placeholders, and the plural of the language.

export const languages = { en: "English", de: "Deutsch", ja: "日本語" } as const;
export type Language = keyof typeof languages;

/** A text, or its forms by the number in `{n}`; `other` is always there. */
export type Text = string | ({ other: string } & Partial<Record<Intl.LDMLPluralRule, string>>);
export type Message = Record<Language, Text>;
export type Values = Record<string, string | number>;

export const isLanguage = (text: string | null): text is Language => text !== null && Object.hasOwn(languages, text);

/** The first of the wished languages that there is; `de-CH` is served by `de`. */
export function choose(wished: readonly string[]): Language {
  for (const wish of wished) {
    const language = wish.toLowerCase().split("-")[0] ?? "";
    if (isLanguage(language)) return language;
  }
  return "en";
}

/** Fills a message in. Numbers are written as the language does. */
export function render(message: Message, language: Language, values: Values = {}): string {
  const text = message[language];
  const form =
    typeof text === "string"
      ? text
      : (text[new Intl.PluralRules(language).select(Number(values["n"] ?? 0))] ?? text.other);
  return form.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : value;
  });
}
