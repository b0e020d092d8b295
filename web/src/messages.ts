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

  // The launcher.
  "launcher.heading": { en: "Desktop applications", de: "Desktop-Anwendungen", ja: "デスクトップアプリ" },
  recent: { en: "Recent desktops", de: "Zuletzt benutzt", ja: "最近のデスクトップ" },
  "recent.all": {
    en: { one: "Show the one", other: "Show all {n}" },
    de: { one: "Den einen zeigen", other: "Alle {n} zeigen" },
    ja: { other: "{n} 件すべて表示" },
  },
  "recent.fewer": { en: "Show fewer", de: "Weniger zeigen", ja: "表示を減らす" },
  apps: { en: "Apps", de: "Anwendungen", ja: "アプリ" },
  "apps.search": { en: "Search apps", de: "Anwendungen suchen", ja: "アプリを検索" },
  "apps.none": { en: "No app is like that.", de: "Keine Anwendung passt dazu.", ja: "該当するアプリがありません。" },
  "app.unavailable": {
    en: "Its image is not on this host yet.",
    de: "Ihr Abbild ist noch nicht auf diesem Rechner.",
    ja: "イメージがまだこのホストにありません。",
  },
  start: { en: "Start", de: "Starten", ja: "起動" },
  "start.named": { en: "Start {name}", de: "{name} starten", ja: "{name} を起動" },
  options: { en: "Options", de: "Optionen", ja: "オプション" },
  "options.named": { en: "Options of {name}", de: "Optionen von {name}", ja: "{name} のオプション" },
  "launch.title": { en: "Starting {title}", de: "{title} startet", ja: "{title} を起動しています" },
  "launch.failed": { en: "{title} could not be started", de: "{title} konnte nicht starten", ja: "{title} を起動できませんでした" },
  "launch.logs": { en: "Its last lines", de: "Die letzten Zeilen", ja: "最後の出力" },
  "option.optional": { en: "(optional)", de: "(freiwillig)", ja: "(任意)" },
  "option.default": { en: "As the app does", de: "Wie die Anwendung es macht", ja: "アプリの既定値" },
  "option.add": { en: "Add an address", de: "Adresse hinzufügen", ja: "アドレスを追加" },
  "option.remove": { en: "Remove address {n}", de: "Adresse {n} entfernen", ja: "アドレス {n} を削除" },
  "option.required": { en: "This is needed.", de: "Das wird gebraucht.", ja: "入力が必要です。" },
  "option.integer": { en: "This must be a whole number.", de: "Das muss eine ganze Zahl sein.", ja: "整数を入力してください。" },
  "option.range": {
    en: "A whole number from {min} to {max}.",
    de: "Eine ganze Zahl von {min} bis {max}.",
    ja: "{min} から {max} までの整数。",
  },
  "option.url": {
    en: "An address begins with http:, https: or about:.",
    de: "Eine Adresse beginnt mit http:, https: oder about:.",
    ja: "アドレスは http:、https:、about: のいずれかで始まります。",
  },
  "option.host": {
    en: "This must be a host name or an IP address.",
    de: "Das muss ein Rechnername oder eine IP-Adresse sein.",
    ja: "ホスト名か IP アドレスを入力してください。",
  },
  stop: { en: "Stop", de: "Beenden", ja: "停止" },
  "stop.named": { en: "Stop {name}", de: "{name} beenden", ja: "{name} を停止" },
  "stop.title": { en: "Stop {title}?", de: "{title} beenden?", ja: "{title} を停止しますか？" },
  "stop.text": {
    en: "What is not saved in it is lost. Its home stays, and it can be started again.",
    de: "Was darin nicht gespeichert ist, geht verloren. Sein Heimverzeichnis bleibt, und er kann wieder gestartet werden.",
    ja: "保存していない内容は失われます。ホームは残り、再び起動できます。",
  },
  "stop.viewers": {
    en: { one: "One person is looking at it now.", other: "{n} people are looking at it now." },
    de: { one: "Gerade schaut jemand zu.", other: "Gerade schauen {n} Leute zu." },
    ja: { other: "現在 {n} 人が閲覧しています。" },
  },
  delete: { en: "Delete", de: "Löschen", ja: "削除" },
  "delete.named": { en: "Delete {name}", de: "{name} löschen", ja: "{name} を削除" },
  "delete.title": { en: "Delete {title}?", de: "{title} löschen?", ja: "{title} を削除しますか？" },
  "delete.text": {
    en: "It is stopped and forgotten, and its last picture is deleted. This cannot be undone.",
    de: "Er wird beendet und vergessen, sein letztes Bild gelöscht. Das lässt sich nicht zurücknehmen.",
    ja: "停止され、記録と最後の画面が削除されます。元に戻せません。",
  },
  "delete.text.home": {
    en: "It is stopped and forgotten, and its home is deleted with all files, settings and history in it. This cannot be undone.",
    de: "Er wird beendet und vergessen, und sein Heimverzeichnis mit allen Dateien, Einstellungen und Verläufen gelöscht. Das lässt sich nicht zurücknehmen.",
    ja: "停止され、ホームにあるファイル・設定・履歴がすべて削除されます。元に戻せません。",
  },

  // Why a desktop lives.
  "because.asleep": {
    en: "Nothing of it runs; ask for it and it starts.",
    de: "Nichts von ihm läuft; wer nach ihm fragt, startet ihn.",
    ja: "何も動いていません。開くと起動します。",
  },
  "because.starting": { en: "It is starting.", de: "Er startet gerade.", ja: "起動しています。" },
  "because.stopping": { en: "It is ending.", de: "Er wird gerade beendet.", ja: "停止しています。" },
  "because.restarting": {
    en: "It is ending, and starts again after.",
    de: "Er wird gerade beendet und startet danach neu.",
    ja: "停止後に再び起動します。",
  },
  "because.failed": {
    en: "Its last start failed; asking for it tries again.",
    de: "Sein letzter Start schlug fehl; wer nach ihm fragt, versucht es noch einmal.",
    ja: "前回の起動に失敗しました。開くともう一度試します。",
  },
  "because.viewed": {
    en: { one: "One viewer keeps it alive.", other: "{n} viewers keep it alive." },
    de: { one: "Ein Zuschauer hält ihn am Leben.", other: "{n} Zuschauer halten ihn am Leben." },
    ja: { other: "{n} 人が閲覧しているため動いています。" },
  },
  "because.viewed.until": {
    en: {
      one: "One viewer keeps it alive, until it reaches its maximum age.",
      other: "{n} viewers keep it alive, until it reaches its maximum age.",
    },
    de: {
      one: "Ein Zuschauer hält ihn am Leben, bis er sein Höchstalter erreicht.",
      other: "{n} Zuschauer halten ihn am Leben, bis er sein Höchstalter erreicht.",
    },
    ja: { other: "{n} 人が閲覧しているため、最長稼働時間まで動きます。" },
  },
  "because.unseen": {
    en: "Nobody is looking, and it never goes idle.",
    de: "Niemand schaut zu, und er endet nie von selbst.",
    ja: "誰も見ていませんが、自動では停止しません。",
  },
  "because.unseen.until": {
    en: "Nobody is looking; it stops soon unless somebody does.",
    de: "Niemand schaut zu; er endet bald, wenn es so bleibt.",
    ja: "誰も見ていません。このままだとまもなく停止します。",
  },

  // A page that is not there.
  "missing.title": { en: "Nothing is here", de: "Hier ist nichts", ja: "ページが見つかりません" },
  "missing.text": {
    en: "There is no page at {path}.",
    de: "Unter {path} gibt es keine Seite.",
    ja: "{path} にはページがありません。",
  },
  "missing.launcher": { en: "Go to the apps", de: "Zu den Anwendungen", ja: "アプリ一覧へ" },
} satisfies Record<string, Message>;
