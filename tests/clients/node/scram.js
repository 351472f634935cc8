// Proves a password by SCRAM-SHA-256 (RFC 5802, RFC 7677), publishes to itself, and proves the password again.
const crypto = require("crypto");
const mqtt = require("mqtt");

const method = "SCRAM-SHA-256";
const { MQTT_USER: user, MQTT_PASSWORD: password, MQTT_PORT: port } = process.env;

const hmac = (key, text) => crypto.createHmac("sha256", key).update(text).digest();

// One exchange: the first message, and the answer to the challenge.
function exchange() {
  const bare = `n=${user},r=${crypto.randomBytes(18).toString("base64")}`;
  let expected;
  return {
    first: Buffer.from(`n,,${bare}`),
    last(challenge) {
      const fields = Object.fromEntries(challenge.split(",").map((field) => [field[0], field.slice(2)]));
      const salted = crypto.pbkdf2Sync(password, Buffer.from(fields.s, "base64"), Number(fields.i), 32, "sha256");
      const withoutProof = `c=biws,r=${fields.r}`;
      const message = `${bare},${challenge},${withoutProof}`;
      const clientKey = hmac(salted, "Client Key");
      const signature = hmac(crypto.createHash("sha256").update(clientKey).digest(), message);
      const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]));
      expected = `v=${hmac(hmac(salted, "Server Key"), message).toString("base64")}`;
      return Buffer.from(`${withoutProof},p=${proof.toString("base64")}`);
    },
    isProven: (data) => data.toString() === expected,
  };
}

let current = exchange();
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
  protocolVersion: 5,
  clientId: "scram",
  reconnectPeriod: 0,
  properties: { authenticationMethod: method, authenticationData: current.first },
});

client.handleAuth = (packet, callback) => {
  const data = packet.properties.authenticationData;
  if (packet.reasonCode === 0) {
    console.log(current.isProven(data) ? "proven again" : "the gateway does not know the password");
    client.end();
    return callback();
  }
  const properties = { authenticationMethod: method, authenticationData: current.last(data.toString()) };
  callback(null, { cmd: "auth", reasonCode: 24, properties });
};

client.on("connect", (connack) => {
  console.log(current.isProven(connack.properties.authenticationData) ? "proven" : "the gateway does not know the password");
  client.subscribe("scram", () => client.publish("scram", "heard"));
});

client.on("message", (topic, payload) => {
  console.log(payload.toString());
  current = exchange();
  const properties = { authenticationMethod: method, authenticationData: current.first };
  client._sendPacket({ cmd: "auth", reasonCode: 25, properties });
});

client.on("error", (error) => {
  console.log(`refused: ${error.code}`);
  client.end(true);
});
