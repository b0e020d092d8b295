// Every text of the console, in all its languages side by side. `{name}` is filled in; a text with `one` and `other` is
// chosen by the number in `{n}`, as the language wants it.
import type { Message } from "./shared/text.ts";

export const messages = {
  // What every page has.
  pages: { en: "Pages", de: "Seiten", ja: "ページ" },
  launcher: { en: "Apps", de: "Anwendungen", ja: "アプリ" },
  operations: { en: "Operations", de: "Betrieb", ja: "運用" },
  language: { en: "Language", de: "Sprache", ja: "言語" },
  theme: { en: "Appearance", de: "Darstellung", ja: "外観" },
  "theme.auto": { en: "as the system", de: "wie das System", ja: "システムに合わせる" },
  "theme.light": { en: "light", de: "hell", ja: "ライト" },
  "theme.dark": { en: "dark", de: "dunkel", ja: "ダーク" },
  close: { en: "Close", de: "Schließen", ja: "閉じる" },
  cancel: { en: "Cancel", de: "Abbrechen", ja: "キャンセル" },
  retry: { en: "Try again", de: "Noch einmal versuchen", ja: "再試行" },
  offline: {
    en: "The service does not answer. Trying again …",
    de: "Der Dienst antwortet nicht. Neuer Versuch …",
    ja: "サービスが応答しません。再接続しています…",
  },
  unreachable: {
    en: "The service does not answer: {details}",
    de: "Der Dienst antwortet nicht: {details}",
    ja: "サービスが応答しません: {details}",
  },

  // The state of a desktop.
  "status.asleep": { en: "Asleep", de: "Schläft", ja: "休止中" },
  "status.starting": { en: "Starting", de: "Startet", ja: "起動中" },
  "status.ready": { en: "Running", de: "Läuft", ja: "実行中" },
  "status.stopping": { en: "Stopping", de: "Wird beendet", ja: "停止中" },
  "status.restarting": { en: "Restarting", de: "Startet neu", ja: "再起動中" },
  "status.failed": { en: "Failed", de: "Fehlgeschlagen", ja: "失敗" },
  "progress.asked": { en: "Asking for it …", de: "Wird angefordert …", ja: "要求しています…" },
  "progress.queued": { en: "Waiting for its turn …", de: "Wartet, bis es an der Reihe ist …", ja: "順番を待っています…" },
  "progress.pulling": { en: "Fetching the image …", de: "Abbild wird geladen …", ja: "イメージを取得しています…" },
  "progress.pulling.percent": {
    en: "Fetching the image: {percent} %",
    de: "Abbild wird geladen: {percent} %",
    ja: "イメージを取得しています: {percent} %",
  },
  "progress.starting": { en: "Starting …", de: "Startet …", ja: "起動しています…" },
  "progress.waiting": { en: "Waiting for the display …", de: "Wartet auf die Anzeige …", ja: "画面の準備を待っています…" },

  // A page that is not there.
  "missing.title": { en: "Nothing is here", de: "Hier ist nichts", ja: "ページが見つかりません" },
  "missing.text": {
    en: "There is no page at {path}.",
    de: "Unter {path} gibt es keine Seite.",
    ja: "{path} にはページがありません。",
  },
  "missing.launcher": { en: "Go to the apps", de: "Zu den Anwendungen", ja: "アプリ一覧へ" },
} satisfies Record<string, Message>;
