// Express and amqplib, with publisher confirms; one process per processor, by Node's cluster.
const cluster = require("node:cluster");
const amqp = require("amqplib");
const express = require("express");

const { BROKER, PORT, PROCESSES, QUEUE } = process.env;

async function serve() {
  const connection = await amqp.connect(BROKER);
  const channel = await connection.createConfirmChannel();
  const app = express();
  app.use(express.raw({ type: "*/*", limit: "1mb" }));
  app.post("/webhooks/:source", (request, response) => {
    channel.publish("", QUEUE, request.body, { persistent: true }, (error) => {
      if (error) {
        response.status(503).end();
      } else {
        response.json({ received: true });
      }
    });
  });
  app.listen(Number(PORT), "127.0.0.1", 4096);
}

if (cluster.isPrimary) {
  for (let i = 0; i < Number(PROCESSES); i += 1) {
    cluster.fork();
  }
} else {
  serve();
}
