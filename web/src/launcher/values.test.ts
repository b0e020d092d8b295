import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { Variable } from "../shared/api.ts";
import { asked, check, complaints, completeUrl, environment, initial, ofCaller } from "./values.ts";

const common = { title: "", default: null, required: false };
const text: Variable = { ...common, type: "text" };
const port: Variable = { ...common, type: "integer", min: 1, max: 65535, default: "5900" };
const url: Variable = { ...common, type: "url" };
const urls: Variable = { ...common, type: "urls" };
const host: Variable = { ...common, type: "host", required: true };
const flag: Variable = { ...common, type: "boolean", default: "true" };

describe("the values of a form", () => {
  it("are checked as the service does", () => {
    assert.equal(check(port, ""), undefined);
    assert.equal(check(port, " 80 "), undefined);
    assert.deepEqual(check(port, "1.5"), { key: "option.integer" });
    assert.deepEqual(check(port, "70000"), { key: "option.range", values: { min: 1, max: 65535 } });
    for (const right of ["example.org", "http://[::1]/", "about:blank", "localhost:8080/x", "HTTPS://A"]) {
      assert.equal(check(url, right), undefined, right);
    }
    for (const wrong of ["file:///etc/passwd", "javascript:alert(1)", "http:///x", "a b", "data:text/html,x"]) {
      assert.deepEqual(check(url, wrong), { key: "option.url" }, wrong);
    }
    assert.equal(check(urls, ["", "example.org"]), undefined);
    assert.deepEqual(check(urls, ["example.org", "x:y"]), { key: "option.url" });
    assert.deepEqual(check(host, " "), { key: "option.required" });
    for (const right of ["10.0.0.1", "vnc_1.local", "fe80::1"]) assert.equal(check(host, right), undefined, right);
    for (const wrong of ["a/b", "-a", "a..b", "host:80x"]) assert.deepEqual(check(host, wrong), { key: "option.host" }, wrong);
  });

  it("become an environment without what is empty or the default", () => {
    const variables: [string, Variable][] = [["A", text], ["P", port], ["U", url], ["L", urls], ["H", host], ["F", flag]];
    const raw = Object.fromEntries(variables.map(([name, variable]) => [name, initial(variable)]));
    assert.deepEqual(environment(variables, raw), {});
    assert.deepEqual(
      environment(variables, { A: " a ", P: "80", U: "example.org", L: ["example.org", "", "about:blank"], H: " h ", F: false }),
      { A: " a ", P: 80, U: "https://example.org", L: ["https://example.org", "about:blank"], H: "h", F: false },
    );
  });

  it("are addresses as people write them", () => {
    assert.equal(completeUrl(" example.org/a:b "), "https://example.org/a:b");
    assert.equal(completeUrl("localhost:8080"), "https://localhost:8080");
    assert.equal(completeUrl("http://example.org"), "http://example.org");
    assert.equal(completeUrl(""), "");
  });
});

describe("a form", () => {
  it("does not ask for what is for programs", () => {
    assert.deepEqual(asked({ CALLBACK_ID: text, A: text }), [["A", text]]);
  });

  it("does not ask for what the browser knows", () => {
    const env: Record<string, Variable> = {
      TZ: { ...common, type: "timezone" },
      LANG: { ...common, type: "language", options: ["en_US", "he_IL", "nb_NO", "pt_BR", "zh_TW"] },
      A: text,
    };
    assert.deepEqual(asked(env), [["A", text]]);
    const of = (languages: string[]) => ofCaller(env, { timezone: "Asia/Tokyo", languages });
    assert.deepEqual(of(["tlh", "pt-PT", "en"]), { TZ: "Asia/Tokyo", LANG: "pt-PT" });
    assert.deepEqual(of(["zh-Hant-HK"]), { TZ: "Asia/Tokyo", LANG: "zh-Hant-HK" });
    for (const near of ["no", "nn-NO", "iw", "zh-HK"]) assert.deepEqual(of([near, "en"]), { TZ: "Asia/Tokyo", LANG: near });
    assert.deepEqual(of(["tlh"]), { TZ: "Asia/Tokyo" });
    assert.deepEqual(ofCaller({ A: text }, { timezone: "UTC", languages: ["en"] }), {});
  });

  it("asks first for what is needed", () => {
    assert.deepEqual(asked({ A: text, H: host }), [["H", host], ["A", text]]);
  });

  it("shows the service's complaints where they belong", () => {
    const details = "the app 'x' does not take this env: P must be a whole number; A is required; it must be a text; it has 40000 bytes";
    assert.deepEqual(complaints(details, ["A", "P"]), {
      P: "must be a whole number",
      A: "is required; it must be a text",
      "": "it has 40000 bytes",
    });
  });
});
