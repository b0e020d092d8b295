// What every page has, and what several say of a desktop.
import type { Message } from "../shared/text.ts";

export const common = {
  // What every page has.
  pages: { en: "Pages", de: "Seiten", ja: "ページ" },
  launcher: { en: "Apps", de: "Anwendungen", ja: "アプリ" },
  operations: { en: "Operations", de: "Betrieb", ja: "運用" },
  language: { en: "Language", de: "Sprache", ja: "言語" },
  theme: { en: "Appearance", de: "Darstellung", ja: "外観" },
  "theme.auto": { en: "as the system", de: "wie das System", ja: "システムに合わせる" },
  "theme.light": { en: "light", de: "hell", ja: "ライト" },
  "theme.dark": { en: "dark", de: "dunkel", ja: "ダーク" },
  licences: { en: "Licences", de: "Lizenzen", ja: "ライセンス" },
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
  more: { en: "Show more", de: "Mehr zeigen", ja: "さらに表示" },
  shown: {
    en: { one: "1 desktop is shown.", other: "{n} desktops are shown." },
    de: { one: "1 Desktop wird gezeigt.", other: "{n} Desktops werden gezeigt." },
    ja: { other: "{n} 台のデスクトップを表示しています。" },
  },
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
  "progress.opening": { en: "Opening …", de: "Wird geöffnet …", ja: "開いています…" },

  // Why it sleeps, in a word or two.
  "ended.idle": { en: "nobody looked", de: "niemand sah zu", ja: "閲覧者なし" },
  "ended.stopped": { en: "was stopped", de: "wurde beendet", ja: "停止操作" },
  "ended.maximum_age": { en: "its time was up", de: "seine Zeit war um", ja: "最長稼働時間" },
  "ended.exited": { en: "ended by itself", de: "endete von selbst", ja: "アプリ終了" },

  // Why a desktop lives.
  "because.asleep": {
    en: "Nothing of it runs; ask for it and it starts.",
    de: "Nichts von ihm läuft; wer nach ihm fragt, startet ihn.",
    ja: "何も動いていません。開くと起動します。",
  },
  "because.asleep.idle": {
    en: "Nobody looked at it, and it went to sleep; ask for it and it starts.",
    de: "Niemand sah zu, und er ging schlafen; wer nach ihm fragt, startet ihn.",
    ja: "誰も見ていなかったため休止しました。開くと起動します。",
  },
  "because.asleep.stopped": {
    en: "Somebody stopped it; ask for it and it starts.",
    de: "Jemand hat ihn beendet; wer nach ihm fragt, startet ihn.",
    ja: "停止されました。開くと起動します。",
  },
  "because.asleep.maximum_age": {
    en: "It ran for as long as it may; ask for it and it starts.",
    de: "Er lief so lange, wie er darf; wer nach ihm fragt, startet ihn.",
    ja: "最長稼働時間に達したため停止しました。開くと起動します。",
  },
  "because.asleep.exited": {
    en: "Its application ended; ask for it and it starts.",
    de: "Seine Anwendung hat sich beendet; wer nach ihm fragt, startet ihn.",
    ja: "アプリケーションが終了しました。開くと起動します。",
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
  expires: {
    en: "Will be deleted on {date} unless it is used.",
    de: "Wird am {date} gelöscht, wenn er nicht benutzt wird.",
    ja: "使用しない場合、{date} に削除されます。",
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
  "because.guests.until": {
    en: "Only guests look on, who do not keep it alive; it stops soon.",
    de: "Nur Gäste schauen zu, die ihn nicht am Leben halten; er endet bald.",
    ja: "閲覧しているのはゲストのみのため、まもなく停止します。",
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
