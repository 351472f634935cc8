import { expect, test } from "vitest";

import { coapCommands, coapUri, contentFormat, mqttSnCommands, quoted, userProperties, type Wanted } from "./elsewhere";

const wanted = (more: Partial<Wanted>): Wanted => ({ topic: "a/b", payload: "1", qos: 0, retain: false, contentType: "", isText: false, expiry: "", ...more });

test("levels of a topic are segments of a path", () => {
  expect(coapUri("gw", "5683", "a/b")).toBe("coap://gw/ps/a/b");
  expect(coapUri("gw", "15683", "/a//b/")).toBe("coap://gw:15683/ps//a//b/");
  expect(coapUri("gw", "5683", "a/#")).toBe("coap://gw/ps/a/%23");
  expect(coapUri("::1", "5683", "+/100%")).toBe("coap://[::1]/ps/+/100%25");
  expect(coapUri("gw", "5683", "$share/g/厂?")).toBe("coap://gw/ps/$share/g/%E5%8E%82%3F");
});

test("a shell takes what is quoted for what it is", () => {
  expect(quoted("a/b")).toBe("a/b");
  expect(quoted("it's $HOME")).toBe(`'it'\\''s $HOME'`);
  expect(quoted("")).toBe("''");
});

test("content types have the numbers of IANA where there are some", () => {
  expect(contentFormat("application/json", false)).toBe(50);
  expect(contentFormat("Text/Plain; charset=UTF-8", false)).toBe(0);
  expect(contentFormat("", true)).toBe(0);
  expect(contentFormat("", false)).toBeNull();
  expect(contentFormat("image/x-own", true)).toBeNull();
});

test("a publication becomes a PUT with its options", () => {
  const put = coapCommands("gw", "5683", wanted({ payload: '{"v":1}', qos: 1, retain: true, contentType: "application/json", expiry: "60" })).find((one) => one.name === "put");
  expect(put?.text).toBe(`coap-client -m put -t 50 -e '{"v":1}' 'coap://gw/ps/a/b?qos=1&retain=true&expiry=60'`);
});

test("a filter is observed and subscribed to, and neither read nor published to", () => {
  expect(coapCommands("gw", "5683", wanted({ topic: "a/+" })).map((one) => one.name)).toEqual(["uri", "observe"]);
  expect(mqttSnCommands("gw", "1884", wanted({ topic: "#" })).map((one) => one.text)).toEqual(["thingway sub --url mqtt-sn://gw -t '#'"]);
  expect(mqttSnCommands("gw", "1885", wanted({ qos: 1 }))[1]?.text).toBe("thingway pub --url mqtt-sn://gw:1885 -t a/b -m 1 -q 1");
});

test("user properties are lines", () => {
  expect(userProperties("a=1\n\n b = 2=3\nc")).toEqual([["a", "1"], ["b", " 2=3"], ["c", ""]]);
});
