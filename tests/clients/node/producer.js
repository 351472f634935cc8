const mqtt = require("mqtt");

const topic = "/server/task/roleId/1/update_task_data";

const client = mqtt.connect(`mqtt://127.0.0.1:${process.env.MQTT_PORT || 1883}`, {
  username: "admin",
  password: "public",
  clientId: "server1",
});

client.on("connect", () => {
  console.log("connect success");
  client.publish(topic, JSON.stringify({ roleId: 1, task: "update" }), { qos: 2 }, (error) => {
    if (error) throw error;
    console.log("published");
    client.end();
  });
});

client.on("error", (error) => {
  console.error(error.message);
});
