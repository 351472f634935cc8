// What the test driver can ask of mqtt.js. The same file runs in Node and in a browser; docs/testing.md has the commands.
(function (root) {
  "use strict";

  const fromHex = (text, Buffer) => Buffer.from(text, "hex");
  const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

  function url(c) {
    switch (c.transport) {
      case "tcp":
      case "quic": // through the driver's bridge
        return `mqtt://${c.host}:${c.port}`;
      case "tls":
        return `mqtts://${c.host}:${c.port}`;
      case "unix":
        return `mqtt+unix://${c.path}`;
      default:
        return `${c.transport}://${c.host}:${c.port}${c.path}`;
    }
  }

  function publishProperties(p, Buffer) {
    const properties = {};
    if (p.user.length > 0) {
      properties.userProperties = {};
      for (const [name, value] of p.user) (properties.userProperties[name] ||= []).push(value);
    }
    if (p.correlationData !== null) properties.correlationData = fromHex(p.correlationData, Buffer);
    if (p.contentType !== null) properties.contentType = p.contentType;
    if (p.responseTopic !== null) properties.responseTopic = p.responseTopic;
    if (p.expiry !== null) properties.messageExpiryInterval = p.expiry;
    if (p.utf8 !== null) properties.payloadFormatIndicator = p.utf8;
    if (p.topicAlias !== null) properties.topicAlias = p.topicAlias;
    return properties;
  }

  function receivedProperties(p = {}) {
    const user = [];
    for (const [name, values] of Object.entries(p.userProperties || {})) {
      for (const value of [].concat(values)) user.push([name, value]);
    }
    return {
      user,
      correlationData: p.correlationData === undefined ? null : toHex(p.correlationData),
      contentType: p.contentType ?? null,
      responseTopic: p.responseTopic ?? null,
      expiry: p.messageExpiryInterval ?? null,
      utf8: p.payloadFormatIndicator ?? null,
      topicAlias: p.topicAlias ?? null,
      subscriptionIds: p.subscriptionIdentifier === undefined ? [] : [].concat(p.subscriptionIdentifier),
    };
  }

  // `environment` has `Buffer` and `ca(path)`, the certificate authority's text.
  root.makeAgent = function makeAgent(mqtt, environment, report) {
    const { Buffer } = environment;
    const clients = new Map();

    function connect(c, done) {
      const options = {
        protocolVersion: c.version,
        protocolId: c.version === 3 ? "MQIsdp" : "MQTT",
        clientId: c.clientId,
        clean: c.clean,
        keepalive: c.keepAlive,
        reconnectPeriod: 0,
        connectTimeout: 10_000,
        resubscribe: false,
        autoAssignTopicAlias: c.autoTopicAlias,
        autoUseTopicAlias: c.autoTopicAlias,
      };
      if (c.username !== null) options.username = c.username;
      if (c.password !== null) options.password = c.password;
      if (c.transport === "tls" || c.transport === "wss") options.ca = environment.ca(c.ca);
      if (c.version === 5) {
        options.properties = {};
        if (c.sessionExpiry !== null) options.properties.sessionExpiryInterval = c.sessionExpiry;
        if (c.receiveMaximum !== null) options.properties.receiveMaximum = c.receiveMaximum;
        if (c.topicAliasMaximum !== null) options.properties.topicAliasMaximum = c.topicAliasMaximum;
      }
      if (c.will !== null) {
        const { topic, payload, qos, retain } = c.will;
        options.will = { topic, payload: fromHex(payload, Buffer), qos, retain };
      }
      const client = mqtt.connect(url(c), options);
      clients.set(c.conn, client);
      let code = null;
      client.on("connect", (packet) =>
        done({
          sessionPresent: packet.sessionPresent,
          assignedClientId: packet.properties?.assignedClientIdentifier ?? null,
          topicAliasMaximum: packet.properties?.topicAliasMaximum ?? 0,
        }),
      );
      client.on("message", (topic, payload, packet) =>
        report({
          report: "message",
          conn: c.conn,
          topic,
          payload: toHex(payload),
          qos: packet.qos,
          retain: packet.retain,
          dup: packet.dup,
          properties: receivedProperties(packet.properties),
        }),
      );
      client.on("disconnect", (packet) => (code = packet.reasonCode ?? 0));
      client.on("error", (error) => done({ error: String(error.message || error), code: error.code }));
      client.on("close", () => {
        done({ error: "closed before CONNACK" });
        report({ report: "closed", conn: c.conn, code });
      });
    }

    function subscribe(c, done) {
      const options = { qos: c.qos, nl: c.noLocal, rap: c.retainAsPublished, rh: c.retainHandling };
      if (c.subscriptionId !== null) options.properties = { subscriptionIdentifier: c.subscriptionId };
      clients.get(c.conn).subscribe(c.filter, options, (error, granted, packet) => {
        if (error) done({ error: String(error.message), codes: packet?.granted ?? [] });
        else done({ codes: packet?.granted ?? granted.map((grant) => grant.qos) });
      });
    }

    function unsubscribe(c, done) {
      clients.get(c.conn).unsubscribe(c.filter, (error) => done(error ? { error: String(error.message) } : {}));
    }

    function publish(c, done) {
      const client = clients.get(c.conn);
      const options = { qos: c.qos, retain: c.retain };
      if (client.options.protocolVersion === 5) options.properties = publishProperties(c.properties, Buffer);
      client.publish(c.topic, fromHex(c.payload, Buffer), options, (error, packet) =>
        done(error ? { error: String(error.message), codes: [error.code] } : { codes: [packet?.reasonCode ?? 0] }),
      );
    }

    const disconnect = (c, done) => clients.get(c.conn).end(false, {}, () => done({}));

    function kill(c, done) {
      clients.get(c.conn).stream.destroy();
      done({});
    }

    const operations = { connect, subscribe, unsubscribe, publish, disconnect, kill };

    return function handle(command) {
      let finished = false;
      const done = (outcome) => {
        if (!finished) report({ report: "done", req: command.req, ...outcome });
        finished = true;
      };
      try {
        operations[command.op](command, done);
      } catch (error) {
        done({ error: String(error.stack || error) });
      }
    };
  };
})(typeof module === "object" ? module.exports : globalThis);
