const mqtt = require("mqtt");

const topic = "/server/task/roleId/1/update_task_data";

const client = mqtt.connect(`mqtt://127.0.0.1:${process.env.MQTT_PORT || 1883}`, {
  username: "admin",
  password: "public",
  clientId: "client9",
});

client.on("connect", () => {
  console.log("connect success");
  client.subscribe(topic, { qos: 2 }, (error) => {
    if (error) throw error;
    console.log("subscribed");
  });
});

client.on("message", (topic, payload) => {
  console.log(topic, payload.toString());
});

client.on("error", (error) => {
  console.error(error.message);
});
