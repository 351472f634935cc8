import { expect, test } from "vitest";

import type { Described, Setting } from "../settings/value";
import { isFurther, isOurs, moved, named, rowsOfService, servicesIn, unused, withoutService } from "./services";

const of = (value: unknown, source = "default"): Setting => ({ value, source, settable: true, pending: false });
const settings = {
  "access.authenticators": of(["users", "http.main"], "run time"),
  "access.sources": of(["http.main", "rules"]),
  "access.cache_max": of(32),
  "access.users.by": of("username"),
  "access.http.main.url": of("http://127.0.0.1:1/", "run time"),
  "access.http.main.method": of("post"),
  "access.jwt.shop.from": of("password", "/etc/thingway.toml:7"),
};
const key = (path: string, kind: string, more: Partial<Described> = {}): Described => ({ name: path.split(".").pop() ?? "", path, doc: "", expected: "", kind, ...more });

test("services are found by their settings, and lists may name those that they do not name yet", () => {
  expect(servicesIn(settings)).toEqual(["http.main", "jwt.shop"]);
  expect(named(settings, "sources")).toEqual(["http.main", "rules"]);
  expect(unused(settings, "authenticators")).toEqual(["scram", "certificate", "jwt.shop"]);
  // Tokens are no source of rules.
  expect(unused(settings, "sources")).toEqual([]);
  // The gateway's own rules are there as a whole, or in parts.
  expect(unused({ ...settings, "access.sources": of(["rules.files"]) }, "sources")).toEqual(["rules.settings", "rules.database", "http.main"]);
});

test("one place up or down, and no further than the ends", () => {
  expect(moved(["a", "b", "c"], "c", -1)).toEqual(["a", "c", "b"]);
  expect(moved(["a", "b", "c"], "a", 1)).toEqual(["b", "a", "c"]);
  expect(moved(["a", "b"], "a", -1)).toEqual(["a", "b"]);
  expect(moved(["a", "b"], "x", 1)).toEqual(["a", "b"]);
});

test("a service that is taken away leaves the lists, too", () => {
  expect(withoutService(settings, "http.main")).toEqual({ "access.http.main": null, "access.authenticators": ["users"], "access.sources": ["rules"] });
  expect(withoutService(settings, "jwt.shop")).toEqual({ "access.jwt.shop": null });
  expect([isOurs(settings, "http.main"), isOurs(settings, "jwt.shop"), isOurs(settings, "http.other")]).toEqual([true, false, false]);
});

test("a new service begins with what the schema says, one that is there with what it has", () => {
  const keys = [key("access.http.{name}.url", "text", { default: "" }), key("access.http.{name}.method", "choice", { default: "post" }), key("access.http.{name}.fields", "list", { default: {} }), key("access.jwt.{name}.from", "choice")];
  const sections = [{ path: "access", doc: "", keys }];
  const values = (service: string) => rowsOfService(sections, settings, service).map(({ path, setting }) => [path, setting.value]);
  expect(values("http.new")).toEqual([["access.http.new.url", ""], ["access.http.new.method", "post"], ["access.http.new.fields", {}]]);
  expect(values("http.main")[0]).toEqual(["access.http.main.url", "http://127.0.0.1:1/"]);
  const further = (path: string) => isFurther({ path, described: key(path, "text"), setting: of("") });
  expect(["access.mysql.a.query", "access.mysql.a.tls.enable", "access.mysql.cache.server", "access.http.a.timeout"].map(further)).toEqual([false, true, false, true]);
});
