// Who may do what: links to the desktop, and who is connected.
import { useEffect, useRef, useState } from "preact/hooks";

import { ApiError, type Role } from "../shared/api.ts";
import { viewAddress } from "../shared/base.ts";
import { now } from "../shared/clock.ts";
import { Confirmation } from "../shared/dialog.tsx";
import { EventFeed } from "../shared/events.ts";
import { relativeTime } from "../shared/format.ts";
import { language, t } from "../shared/i18n.ts";
import { toast } from "../shared/toast.tsx";
import { copyField } from "./copy.ts";
import {
  changeConnection,
  changeShare,
  client,
  connections,
  giveControlBack,
  share,
  shares,
  sparesThisPage,
  takeControl,
  withdraw,
  type Connection,
  type Share,
} from "./sharing.ts";
import type { Viewer } from "./viewer.ts";

const roles: readonly Role[] = ["view", "control"];

/** After how many seconds a link may end. */
const lifetimes = { never: undefined, hour: 3_600, day: 86_400, week: 604_800 } as const;
type Lifetime = keyof typeof lifetimes;

const relative = (when: string): string => relativeTime(when, now.value, language.value);

function complain(error: unknown): void {
  toast(error instanceof ApiError ? error.message : String(error), "bad");
}

export function SharePanel({ viewer }: { viewer: Viewer }) {
  const { uid } = viewer;
  const { takeover } = viewer.desktop.value ?? {};
  const [links, setLinks] = useState<Share[]>([]);
  const [people, setPeople] = useState<Connection[]>([]);

  const readAll = () =>
    void Promise.all([shares(uid), connections(uid), viewer.refresh()]).then(([links, people]) => {
      setLinks(links);
      setPeople(people);
    }, complain);
  /** Whatever came of it, what is shown is what is so now. */
  const after = (change: Promise<void>) => void change.catch(complain).finally(readAll);
  useEffect(() => {
    const feed = new EventFeed({ onReset: readAll, onEvent: readAll }, { uid });
    return () => feed.close();
  }, [uid]);

  // The service ends them at their time, and says so only to those who came by them.
  const inForce = links.filter(({ expires }) => expires === undefined || Date.parse(expires) > now.value);
  return (
    <>
      <div class="stack tight">
        <Link label={t("viewer.share.own")} id="share-own" address={viewAddress(uid)} />
        <p class="hint">{t("viewer.share.own.note")}</p>
      </div>
      <NewLink uid={uid} onMade={readAll} />
      <section class="shares" aria-labelledby="share-links">
        <h3 class="label" id="share-links">
          {t("viewer.share.links")}
        </h3>
        {inForce.length === 0 && <p class="hint">{t("viewer.share.links.none")}</p>}
        <ul>
          {inForce.map((link) => (
            <LinkEntry
              key={link.id}
              link={link}
              onRole={(role) => after(changeShare(uid, link.id, role))}
              onWithdraw={() => after(withdraw(uid, link.id))}
            />
          ))}
        </ul>
      </section>
      <section class="shares" aria-labelledby="share-connected">
        <h3 class="label" id="share-connected">
          {t("viewer.share.connected")}
        </h3>
        <ul>
          {people.map((connection) => (
            <Person
              key={connection.id}
              connection={connection}
              by={links.find(({ id }) => id === connection.share)}
              onRole={(role) => after(changeConnection(uid, connection.id, role))}
            />
          ))}
        </ul>
        <div class="actions">
          {/* One button for both, which keeps the focus. */}
          <button type="button" class="button" onClick={() => after(takeover ? giveControlBack(uid) : takeControl(uid))}>
            {t(takeover ? "viewer.share.give" : "viewer.share.take")}
          </button>
          {takeover && !sparesThisPage(takeover) && (
            <button type="button" class="button" onClick={() => after(takeControl(uid))}>
              {t("viewer.share.take")}
            </button>
          )}
        </div>
        <p class={takeover ? "" : "hint"} role="status">
          {t(!takeover ? "viewer.share.take.note" : sparesThisPage(takeover) ? "viewer.share.taken.here" : "viewer.share.taken")}
        </p>
      </section>
    </>
  );
}

function NewLink({ uid, onMade }: { uid: string; onMade: () => void }) {
  const [role, setRole] = useState<Role>("view");
  const [pastes, setPastes] = useState(true);
  const [lifetime, setLifetime] = useState<Lifetime>("day");
  const [made, setMade] = useState("");
  const [asking, setAsking] = useState(false);
  const make = async () => {
    setAsking(true);
    try {
      const clipboard = role === "control" && pastes ? "both" : "out";
      setMade(await share(uid, { role, clipboard, expires: lifetimes[lifetime] }));
      onMade();
    } catch (error) {
      complain(error);
    } finally {
      setAsking(false);
    }
  };
  return (
    <form
      class="stack tight"
      aria-labelledby="share-new"
      onSubmit={(event) => {
        event.preventDefault();
        void make();
      }}
    >
      <h3 class="label" id="share-new">
        {t("viewer.share.new")}
      </h3>
      <fieldset class="choice">
        <legend class="hint">{t("viewer.share.role")}</legend>
        <div class="row">
          {roles.map((each) => (
            <label key={each}>
              <input type="radio" name="share-role" value={each} checked={role === each} onChange={() => setRole(each)} />
              {t(`viewer.share.role.${each}`)}
            </label>
          ))}
        </div>
      </fieldset>
      {role === "control" && (
        <label class="check">
          <input type="checkbox" checked={pastes} onChange={() => setPastes(!pastes)} />
          {t("viewer.share.paste")}
        </label>
      )}
      <div class="row ends">
        <label for="share-expires" class="hint">
          {t("viewer.share.expires")}
        </label>
        <select
          id="share-expires"
          class="input"
          value={lifetime}
          onChange={({ currentTarget }) => setLifetime(currentTarget.value as Lifetime)}
        >
          {Object.keys(lifetimes).map((each) => (
            <option key={each} value={each}>
              {t(`viewer.share.expires.${each as Lifetime}`)}
            </option>
          ))}
        </select>
        <button type="submit" class="button primary" disabled={asking}>
          {t("viewer.share.make")}
        </button>
      </div>
      <p class="hint">{t("viewer.share.new.note")}</p>
      {made && (
        <div class="stack tight" role="status">
          <Link label={t("viewer.share.made")} id="share-made" address={made} />
          <p class="hint">{t("viewer.share.made.note")}</p>
        </div>
      )}
    </form>
  );
}

function LinkEntry({ link, onRole, onWithdraw }: { link: Share; onRole: (role: Role) => void; onWithdraw: () => void }) {
  const [asking, setAsking] = useState(false);
  const name = t("viewer.share.link", { when: relative(link.created_at) });
  const more = [
    link.expires && t("viewer.share.link.ends", { when: relative(link.expires) }),
    link.clipboard === "both" && t("viewer.share.link.paste"),
  ].filter(Boolean);
  return (
    <li>
      <span>
        {name}
        {more.length > 0 && <span class="hint">{more.join(" · ")}</span>}
      </span>
      <RoleChoice name={name} role={link.role} onRole={onRole} />
      <button
        type="button"
        class="button"
        aria-label={t("viewer.share.withdraw.named", { name })}
        onClick={() => setAsking(true)}
      >
        {t("viewer.share.withdraw")}
      </button>
      {asking && (
        <Confirmation
          title={t("viewer.share.withdraw.title")}
          text={t("viewer.share.withdraw.text")}
          action={t("viewer.share.withdraw")}
          onConfirm={onWithdraw}
          onClose={() => setAsking(false)}
        />
      )}
    </li>
  );
}

function Person(props: { connection: Connection; by: Share | undefined; onRole: (role: Role) => void }) {
  const { connection, by, onRole } = props;
  const name = t("viewer.share.viewer", { when: new Date(connection.since).toLocaleTimeString(language.value) });
  const more = [
    connection.client === client && t("viewer.share.viewer.this"),
    by ? t("viewer.share.link", { when: relative(by.created_at) }) : !connection.share && t("viewer.share.viewer.own"),
    connection.address && t("viewer.share.viewer.from", { address: connection.address }),
  ].filter(Boolean);
  return (
    <li>
      <span>
        {name}
        <span class="hint">{more.join(" · ")}</span>
      </span>
      <RoleChoice name={name} role={connection.role} onRole={onRole} />
    </li>
  );
}

function RoleChoice({ name, role, onRole }: { name: string; role: Role; onRole: (role: Role) => void }) {
  return (
    <select
      class="input"
      aria-label={t("viewer.share.role.of", { name })}
      value={role}
      onChange={({ currentTarget }) => onRole(currentTarget.value as Role)}
    >
      {roles.map((each) => (
        <option key={each} value={each}>
          {t(`viewer.share.role.${each}`)}
        </option>
      ))}
    </select>
  );
}

function Link({ label, id, address }: { label: string; id: string; address: string }) {
  const field = useRef<HTMLInputElement>(null);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="row">
        <input ref={field} id={id} class="input" readOnly value={address} onFocus={({ currentTarget }) => currentTarget.select()} />
        <button
          type="button"
          class="button"
          aria-label={`${t("viewer.copy")}: ${label}`}
          onClick={() => field.current && void copyField(field.current)}
        >
          {t("viewer.copy")}
        </button>
      </div>
    </div>
  );
}
